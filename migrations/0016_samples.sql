-- Databases: rest
-- Why: samples of clusters are asked for by time, long after they were the newest; and the health that a check has found
-- outlives a Kafka that is lost (operations contract, sections 8 and 12).

CREATE TABLE metrics (
    id         text             PRIMARY KEY,
    cluster_id text             NOT NULL,
    type       text             NOT NULL,
    timestamp  timestamptz      NOT NULL,
    value      double precision NOT NULL,
    unit       text             NOT NULL,
    source     text
);

CREATE INDEX metrics_by_cluster ON metrics (cluster_id, type, timestamp DESC);
CREATE INDEX metrics_by_time ON metrics (timestamp);

ALTER TABLE cluster_checkups
    ADD COLUMN health varchar(20),
    ADD COLUMN issues jsonb NOT NULL DEFAULT '[]';
