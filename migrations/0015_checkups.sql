-- Databases: rest
-- Why: when a cluster was diagnosed last, and what was found, outlives a Kafka that is lost (operations contract,
-- sections 6 and 15).

CREATE TABLE cluster_checkups (
    id              varchar(100) PRIMARY KEY,
    status          varchar(50)  NOT NULL,
    droplets        bigint       NOT NULL,
    insights        jsonb        NOT NULL,
    recommendations jsonb        NOT NULL,
    created_at      timestamptz  NOT NULL,
    updated_at      timestamptz  NOT NULL,
    version         bigint       NOT NULL
);
