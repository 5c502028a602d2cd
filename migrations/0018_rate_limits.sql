-- Databases: rest
-- Why: what operators have configured must outlive a Kafka that is lost (operations contract, section 3.3). Buckets
-- themselves have no rows: one that is forgotten is full again.

CREATE TABLE rate_limits (
    id          varchar(100)     PRIMARY KEY,
    name        varchar(64)      NOT NULL,
    scope       varchar(160)     NOT NULL,
    capacity    double precision,
    refill_rate double precision,
    created_at  timestamptz      NOT NULL,
    updated_at  timestamptz      NOT NULL,
    version     bigint           NOT NULL
);
