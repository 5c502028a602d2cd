-- Databases: rest, grpc, worker
-- Why: a tombstone lives for a day or so and is then compacted away. A sink that was away for longer, or whose
-- database was set back that far, never sees it, and must know that (sinks/vanished.py).

-- All that was written to the partition before this time is behind the position.
ALTER TABLE sink_offsets ADD COLUMN read_until timestamptz NOT NULL DEFAULT now();
UPDATE sink_offsets SET read_until = updated_at;
