-- Databases: rest
-- Why: jobs outlive the Kafka they came by, and the memory of what serves them (operations contract, section 12).

CREATE TABLE jobs (
    id           varchar(100) PRIMARY KEY,
    cluster_id   varchar(255) NOT NULL,
    type         varchar(50)  NOT NULL,
    status       varchar(50)  NOT NULL,
    progress     bigint       NOT NULL CHECK (progress BETWEEN 0 AND 100),
    attempts     bigint       NOT NULL,
    trace_id     varchar(36)  NOT NULL,
    result       text         NOT NULL,
    error        text         NOT NULL,
    parameters   text         NOT NULL,
    work         jsonb        NOT NULL,
    created_at   timestamptz  NOT NULL,
    updated_at   timestamptz  NOT NULL,
    completed_at timestamptz,
    version      bigint       NOT NULL
);

CREATE INDEX jobs_cluster_id ON jobs (cluster_id);
CREATE INDEX jobs_created_at ON jobs (created_at DESC);
CREATE INDEX jobs_status ON jobs (status);

-- Which droplets of a cluster are active.
ALTER TABLE cluster_members
    ADD COLUMN active jsonb NOT NULL DEFAULT '[]';
