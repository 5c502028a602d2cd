-- Databases: rest
-- Why: the sink must know which worker's records count where it goes on reading (streams/claims.py), and what
-- PostgreSQL holds must be enough to fill an empty Kafka again: secrets (encrypted, docs/decisions/0008) and
-- the start of a status's grace period were missing.

-- Not if a database without clusters had it already (0011).
ALTER TABLE sink_offsets ADD COLUMN IF NOT EXISTS claim bigint NOT NULL DEFAULT -1;

ALTER TABLE clusters
    ADD COLUMN secrets         jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN first_report_at timestamptz;
