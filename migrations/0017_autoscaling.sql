-- Databases: rest
-- Why: policies of scaling, and what they have led to, outlive a Kafka that is lost (operations contract, 1.5 and 12).

CREATE TABLE autoscale_policies (
    id             varchar(100)     PRIMARY KEY,
    name           varchar(255)     NOT NULL,
    cluster_id     varchar(100)     NOT NULL,
    type           varchar(50)      NOT NULL,
    enabled        boolean          NOT NULL,
    min_replicas   bigint           NOT NULL,
    max_replicas   bigint           NOT NULL,
    metric_type    varchar(50)      NOT NULL,
    metric_trigger double precision NOT NULL,
    time_window    varchar(50)      NOT NULL,
    cost_limit     double precision NOT NULL,
    created_at     timestamptz      NOT NULL,
    updated_at     timestamptz      NOT NULL,
    version        bigint           NOT NULL
);

CREATE INDEX autoscale_policies_by_cluster ON autoscale_policies (cluster_id);

CREATE TABLE autoscalers (
    id         varchar(100) PRIMARY KEY,
    policies   jsonb        NOT NULL,
    region     varchar(255) NOT NULL,
    droplets   bigint       NOT NULL,
    acted_at   timestamptz,
    evaluated  bigint       NOT NULL,
    actions    jsonb        NOT NULL,
    decisions  jsonb        NOT NULL,
    wakes_at   timestamptz,
    created_at timestamptz  NOT NULL,
    updated_at timestamptz  NOT NULL,
    version    bigint       NOT NULL
);

ALTER TABLE cluster_members
    ADD COLUMN least bigint,
    ADD COLUMN most bigint;
