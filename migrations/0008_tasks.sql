-- Databases: grpc
-- Why: others read tasks from PostgreSQL, also after they are forgotten (resources contract, section 9).

CREATE TABLE tasks (
    id          varchar(100) PRIMARY KEY,
    resource_id varchar(100) NOT NULL,
    action      varchar(100) NOT NULL,
    status      varchar(50)  NOT NULL,
    result      text         NOT NULL,
    error       text         NOT NULL,
    attempt     bigint       NOT NULL,
    metadata    jsonb        NOT NULL,
    source      varchar(100) NOT NULL,
    work        jsonb        NOT NULL,
    created_at  timestamptz  NOT NULL,
    updated_at  timestamptz  NOT NULL,
    version     bigint       NOT NULL
);

CREATE INDEX tasks_resource_id ON tasks (resource_id);
CREATE INDEX tasks_status ON tasks (status);
CREATE INDEX tasks_created_at ON tasks (created_at);
