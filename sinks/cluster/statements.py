"""The SQL of clusters and their events. Every statement takes a whole batch, one array per column."""

from typing import Final

UPSERT_CLUSTERS: Final = """
INSERT INTO clusters AS stored (
    id, name, target_project_id, created_by, generation, resource_version, spec, status, status_dirty,
    created_at, updated_at, deleted_at, state_partition, state_offset, secrets, first_report_at,
    health_override, checked_at, attached, yielded)
SELECT id, name, target_project_id, created_by, generation, resource_version, spec, status, false,
    created_at, updated_at, deleted_at, state_partition, state_offset, secrets, first_report_at,
    health_override, checked_at, attached, yielded
FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::jsonb[], $8::jsonb[],
    $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::int[], $13::bigint[], $14::jsonb[],
    $15::timestamptz[], $16::text[], $17::timestamptz[], $18::boolean[], $19::boolean[]
) AS incoming (
    id, name, target_project_id, created_by, generation, resource_version, spec, status,
    created_at, updated_at, deleted_at, state_partition, state_offset, secrets, first_report_at,
    health_override, checked_at, attached, yielded)
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, target_project_id = excluded.target_project_id, created_by = excluded.created_by,
    generation = excluded.generation, resource_version = excluded.resource_version,
    spec = excluded.spec, status = excluded.status, status_dirty = false,
    created_at = excluded.created_at, updated_at = excluded.updated_at, deleted_at = excluded.deleted_at,
    state_partition = excluded.state_partition, state_offset = excluded.state_offset,
    secrets = excluded.secrets, first_report_at = excluded.first_report_at,
    health_override = excluded.health_override, checked_at = excluded.checked_at,
    attached = excluded.attached, yielded = excluded.yielded
-- Only if newer; offsets of two partitions say nothing about each other.
WHERE stored.state_partition <> excluded.state_partition OR stored.state_offset < excluded.state_offset
RETURNING stored.id::text
"""

# A record contains every report of its cluster, although usually one has changed. The others are filtered out
# here, because a conflict without an update would still lock and log the row.
UPSERT_REPORTS: Final = """
INSERT INTO controller_status (
    cluster_id, controller_name, observed_generation, conditions, metadata, last_error, updated_at)
SELECT cluster_id, controller_name, observed_generation, conditions, metadata, last_error, updated_at
FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::jsonb[], $5::jsonb[], $6::jsonb[], $7::timestamptz[])
    AS incoming (
        cluster_id, controller_name, observed_generation, conditions, metadata, last_error, updated_at)
WHERE NOT EXISTS (
    SELECT FROM controller_status AS stored
    WHERE stored.cluster_id = incoming.cluster_id AND stored.controller_name = incoming.controller_name
      AND (stored.updated_at, stored.observed_generation,
           stored.conditions, stored.metadata, stored.last_error)
          IS NOT DISTINCT FROM
          (incoming.updated_at, incoming.observed_generation,
           incoming.conditions, incoming.metadata, incoming.last_error))
ON CONFLICT (cluster_id, controller_name) DO UPDATE SET
    observed_generation = excluded.observed_generation, conditions = excluded.conditions,
    metadata = excluded.metadata, last_error = excluded.last_error, updated_at = excluded.updated_at
"""

# `kept` holds the names of the record's reports as a JSON array.
DELETE_VANISHED_REPORTS: Final = """
DELETE FROM controller_status AS stored
USING unnest($1::uuid[], $2::jsonb[]) AS written (cluster_id, kept)
WHERE stored.cluster_id = written.cluster_id AND NOT written.kept ? stored.controller_name
"""

UPSERT_SCHEDULES: Final = """
INSERT INTO reconciliation_schedule (
    cluster_id, last_reconciled_at, next_reconcile_at, enabled, needs_attention, created_at, updated_at)
SELECT cluster_id, last_reconciled_at, next_reconcile_at, enabled, needs_attention, created_at, updated_at
FROM unnest(
    $1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::boolean[], $5::boolean[], $6::timestamptz[],
    $7::timestamptz[]
) AS incoming (
    cluster_id, last_reconciled_at, next_reconcile_at, enabled, needs_attention, created_at, updated_at)
WHERE NOT EXISTS (
    SELECT FROM reconciliation_schedule AS stored
    WHERE stored.cluster_id = incoming.cluster_id
      AND (stored.last_reconciled_at, stored.next_reconcile_at, stored.enabled, stored.needs_attention)
          IS NOT DISTINCT FROM
          (incoming.last_reconciled_at, incoming.next_reconcile_at,
           incoming.enabled, incoming.needs_attention))
ON CONFLICT (cluster_id) DO UPDATE SET
    last_reconciled_at = excluded.last_reconciled_at, next_reconcile_at = excluded.next_reconcile_at,
    enabled = excluded.enabled, needs_attention = excluded.needs_attention, updated_at = excluded.updated_at
"""

DELETE_SCHEDULES: Final = "DELETE FROM reconciliation_schedule WHERE cluster_id = ANY($1::uuid[])"

# Foreign keys remove reports and schedule with the cluster.
PURGE: Final = """
DELETE FROM clusters AS stored
USING unnest($1::uuid[], $2::int[], $3::bigint[]) AS tombstone (id, state_partition, state_offset)
WHERE stored.id = tombstone.id
  AND (stored.state_partition <> tombstone.state_partition OR stored.state_offset < tombstone.state_offset)
RETURNING stored.created_by, stored.name
"""

# --- when tombstones may be gone, see `sinks.vanished` ---------------------------------------------

HAS_ROWS: Final = "SELECT EXISTS (SELECT FROM clusters WHERE state_partition IN ($1, -1))"

# For a rebuilt row, the record that it shows is unknown.
IDS_OF_PARTITION: Final = """
SELECT id::text, state_partition FROM clusters WHERE id > $1::uuid AND state_partition IN ($3, -1)
ORDER BY id LIMIT $2
"""

REMOVE_VANISHED: Final = """
DELETE FROM clusters WHERE id = ANY($1::uuid[]) RETURNING created_by, name
"""

# Rows of events, from a batch of them.
EVENTS: Final = """
SELECT id, cluster_id, 'cluster' AS controller_name, event_type, generation,
    CASE WHEN reason IS NULL THEN metadata
         ELSE metadata || jsonb_build_object('reason', reason) END AS metadata,
    published_at
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::jsonb[], $6::text[], $7::timestamptz[])
    AS incoming (id, cluster_id, event_type, generation, metadata, reason, published_at)
"""

INSERT_EVENTS: Final = f"""
INSERT INTO cluster_events (id, cluster_id, controller_name, event_type, generation, metadata, published_at)
{EVENTS}
ON CONFLICT (id) DO NOTHING
"""

# --- when a name is still held, see `sinks.cluster.names` ------------------------------------------

YIELD_NAMES: Final = """
UPDATE clusters AS stored
SET deleted_at = incoming.created_at, yielded = true
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[])
    AS incoming (id, created_by, name, created_at)
WHERE stored.created_by = incoming.created_by AND stored.name = incoming.name AND stored.deleted_at IS NULL
  AND stored.id <> incoming.id AND (stored.created_at, stored.id) < (incoming.created_at, incoming.id)
RETURNING stored.id::text
"""

# Locks the rows, so that a writer that deletes one of them waits, and then finds the clusters that yielded to
# it.
LATER_HOLDERS: Final = """
SELECT incoming.id::text AS id, stored.created_at
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[])
    AS incoming (id, created_by, name, created_at)
JOIN clusters AS stored
  ON stored.created_by = incoming.created_by AND stored.name = incoming.name AND stored.deleted_at IS NULL
 AND stored.id <> incoming.id AND (stored.created_at, stored.id) > (incoming.created_at, incoming.id)
FOR SHARE OF stored
"""

GIVE_BACK_NAMES: Final = """
UPDATE clusters AS stored
SET deleted_at = NULL, yielded = false
FROM (
    SELECT DISTINCT ON (created_by, name) id
    FROM clusters JOIN unnest($1::text[], $2::text[]) AS freed (created_by, name) USING (created_by, name)
    WHERE yielded
    ORDER BY created_by, name, created_at DESC, id DESC
) AS youngest
WHERE stored.id = youngest.id AND stored.yielded AND NOT EXISTS (
    SELECT FROM clusters AS holder
    WHERE holder.created_by = stored.created_by AND holder.name = stored.name AND holder.deleted_at IS NULL)
RETURNING stored.id::text
"""
