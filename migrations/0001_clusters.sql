-- Databases: rest
-- Why: the tables others read clusters from (contract, section 7). Names and types are those of the original
-- service, keys those of the seed, so that queries and dashboards written for either keep working.
-- Only the sink writes here. Nothing is computed in the database: no triggers, no functions.

CREATE TABLE clusters (
    id                uuid         PRIMARY KEY DEFAULT gen_random_uuid(),
    name              varchar(255) NOT NULL,
    target_project_id varchar(255),
    created_by        varchar(255) NOT NULL,
    generation        bigint       NOT NULL DEFAULT 1 CHECK (generation >= 1),
    resource_version  varchar(255) NOT NULL DEFAULT gen_random_uuid()::text,
    spec              jsonb        NOT NULL DEFAULT '{}',
    metadata          jsonb        NOT NULL DEFAULT '{}',  -- unused, as in the original
    status            jsonb,
    status_dirty      boolean      NOT NULL DEFAULT true,  -- the sink writes false: a status is never stale here
    created_at        timestamptz  NOT NULL DEFAULT now(),
    updated_at        timestamptz  NOT NULL DEFAULT now(),
    deleted_at        timestamptz,
    -- Which record of `cluster-state` the row shows; -1 before the first, so that any record is newer.
    state_partition   integer      NOT NULL DEFAULT -1,
    state_offset      bigint       NOT NULL DEFAULT -1
) WITH (fillfactor = 80);  -- room for the next version of a row: no indexed column changes with a status

-- A name is taken while its cluster lives, and free again after a delete.
CREATE UNIQUE INDEX clusters_live_name ON clusters (created_by, name) WHERE deleted_at IS NULL;
CREATE INDEX clusters_live_by_owner ON clusters (created_by, created_at DESC, id) WHERE deleted_at IS NULL;
CREATE INDEX clusters_created_by ON clusters (created_by);
CREATE INDEX clusters_created_at ON clusters (created_at);
CREATE INDEX clusters_status_dirty ON clusters (status_dirty) WHERE status_dirty;

-- The primary key begins with cluster_id, so it is also the index by cluster.
CREATE TABLE controller_status (
    cluster_id          uuid         NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    controller_name     varchar(255) NOT NULL,
    observed_generation bigint       NOT NULL DEFAULT 1,
    conditions          jsonb        NOT NULL DEFAULT '[]',
    metadata            jsonb        NOT NULL DEFAULT '{}',
    last_error          jsonb,
    updated_at          timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (cluster_id, controller_name)
);

CREATE INDEX controller_status_updated_at ON controller_status (updated_at);

CREATE TABLE reconciliation_schedule (
    cluster_id         uuid        PRIMARY KEY REFERENCES clusters (id) ON DELETE CASCADE,
    last_reconciled_at timestamptz,
    next_reconcile_at  timestamptz NOT NULL,
    enabled            boolean     NOT NULL DEFAULT true,
    needs_attention    boolean     NOT NULL DEFAULT true,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX reconciliation_schedule_due ON reconciliation_schedule (next_reconcile_at, enabled) WHERE enabled;

-- An audit of what was announced; without a foreign key, because events outlive their cluster.
CREATE TABLE cluster_events (
    id              uuid         PRIMARY KEY,
    cluster_id      uuid         NOT NULL,
    controller_name varchar(255) NOT NULL,
    event_type      varchar(100) NOT NULL,
    generation      bigint       NOT NULL,
    metadata        jsonb        NOT NULL DEFAULT '{}',
    published_at    timestamptz  NOT NULL DEFAULT now()
);

CREATE INDEX cluster_events_cluster_id ON cluster_events (cluster_id);
CREATE INDEX cluster_events_published_at ON cluster_events (published_at);
