-- Databases: rest
-- Why: others read droplets, and what has happened to them, from PostgreSQL (operations contract, section 12).

CREATE TABLE droplets (
    id         varchar(100) PRIMARY KEY,
    cluster_id varchar(255),
    name       varchar(255) NOT NULL,
    region     varchar(255) NOT NULL,
    size       varchar(255) NOT NULL,
    image      varchar(255) NOT NULL,
    provider   varchar(255) NOT NULL,
    status     varchar(50)  NOT NULL,
    ip_address varchar(45),
    reason     text         NOT NULL,
    wakes_at   timestamptz,
    block      varchar(45)  NOT NULL,
    created_at timestamptz  NOT NULL,
    updated_at timestamptz  NOT NULL,
    version    bigint       NOT NULL
);

CREATE INDEX droplets_cluster_id ON droplets (cluster_id, created_at);

-- Who holds which address of a network.
CREATE TABLE address_blocks (
    id         varchar(100) PRIMARY KEY,
    held       jsonb        NOT NULL,
    created_at timestamptz  NOT NULL,
    updated_at timestamptz  NOT NULL,
    version    bigint       NOT NULL
);

-- The droplets of clusters that have some.
CREATE TABLE cluster_members (
    id         varchar(100) PRIMARY KEY,
    droplets   jsonb        NOT NULL,
    known      boolean      NOT NULL,
    wakes_at   timestamptz,
    created_at timestamptz  NOT NULL,
    updated_at timestamptz  NOT NULL,
    version    bigint       NOT NULL
);

-- What was told on `cluster-events`, apart from the events of clusters themselves.
CREATE TABLE events (
    event_id   uuid         PRIMARY KEY,
    type       varchar(100) NOT NULL,
    key        varchar(255) NOT NULL,
    cluster_id varchar(255),
    trace_id   varchar(255),
    payload    jsonb        NOT NULL,
    timestamp  timestamptz  NOT NULL
);

CREATE INDEX events_key ON events (key, timestamp);
CREATE INDEX events_timestamp ON events (timestamp);
