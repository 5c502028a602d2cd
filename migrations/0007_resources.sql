-- Databases: rest
-- Why: others read resources from PostgreSQL (resources contract, section 9).

CREATE TABLE resources (
    id          varchar(100) PRIMARY KEY,
    name        varchar(255) NOT NULL,
    description text         NOT NULL,
    status      varchar(50)  NOT NULL,
    created_at  timestamptz  NOT NULL,
    updated_at  timestamptz  NOT NULL,
    version     bigint       NOT NULL
);

CREATE INDEX resources_status ON resources (status);
CREATE INDEX resources_created_at ON resources (created_at);
