-- Databases: rest, grpc, worker
-- Why: the sink keeps its positions where it keeps its rows, and moves both in one transaction; so a crash
-- between writing and committing to Kafka neither loses nor repeats a record, and a database that is set back
-- (crash, fail-over, restored backup) takes the sink back with it (docs/decisions/0004-postgres-sink.md).

CREATE TABLE sink_offsets (
    topic            varchar(249) NOT NULL,
    partition        integer      NOT NULL,
    -- Offsets mean nothing in another Kafka cluster: a sink that meets a foreign id refuses to start.
    kafka_cluster_id varchar(255) NOT NULL,
    next_offset      bigint       NOT NULL CHECK (next_offset >= 0),
    updated_at       timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
);
