-- Databases: rest, grpc, worker
-- Why: positions have the claim that counts there also where there are no clusters, with whose columns it was
-- added (0003).

ALTER TABLE sink_offsets ADD COLUMN IF NOT EXISTS claim bigint NOT NULL DEFAULT -1;
