"""The SQL of recovery for clusters. A page of rows comes as one array per column, as in the sink."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, get_args, get_type_hints

from recovery.comparison import comparison
from sinks.cluster.rows import ClusterRow, ReportRow, ScheduleRow
from sinks.cluster.statements import EVENTS as EVENT_ROWS

CLUSTERS: Final = "clusters"
REPORTS: Final = "controller_status"
SCHEDULES: Final = "reconciliation_schedule"
EVENTS: Final = "cluster_events"

_JSON: Final = frozenset({"spec", "status", "secrets", "conditions", "metadata", "last_error"})
_TYPES: Final = {str: "text", int: "bigint", bool: "boolean", datetime: "timestamptz"}


def _type(name: str, hint: Any) -> str:
    """The column's type, derived from the sink's row type."""
    if name in ("id", "cluster_id"):
        return "uuid"
    if name in _JSON:
        return "jsonb"
    (plain,) = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    return _TYPES[plain]


def _columns(row: type) -> Mapping[str, str]:
    """The columns of a row type of the sink, with their types."""
    return {name: _type(name, hint) for name, hint in get_type_hints(row).items()}


# A cluster that yielded its name is marked deleted until the sink reads the deletion that follows
# (`sinks.cluster.names`). `recovery.cluster.names.Yielded` checks that one does follow.
_YIELDED: Final = """stored.yielded AND expected.deleted_at IS NULL AND EXISTS (
    SELECT FROM clusters AS holder
    WHERE holder.created_by = stored.created_by AND holder.name = stored.name
      AND holder.deleted_at IS NULL)"""

COMPARISONS: Final = {
    CLUSTERS: comparison(
        CLUSTERS,
        _columns(ClusterRow),
        ("id",),
        fixed={"status_dirty": "false", "metadata": "'{}'::jsonb"},
        excused={"deleted_at": _YIELDED, "yielded": _YIELDED},
    ),
    REPORTS: comparison(REPORTS, _columns(ReportRow), ("cluster_id", "controller_name")),
    SCHEDULES: comparison(
        SCHEDULES,
        _columns(ScheduleRow),
        ("cluster_id",),
        free=("updated_at",),  # the time of the record that changed it, which may not be the last record
    ),
}

COUNT: Final = "SELECT count(*) FROM clusters"

YIELDED: Final = """
SELECT stored.id::text, holder.id::text
FROM clusters AS stored JOIN clusters AS holder USING (created_by, name)
WHERE stored.yielded AND holder.deleted_at IS NULL
"""

_PLACES: Final = "SELECT id::text, state_partition, state_offset FROM clusters"

PLACES: Final = f"{_PLACES} WHERE id > $1::uuid ORDER BY id LIMIT $2"

PLACES_OF: Final = f"{_PLACES} WHERE id = ANY($1::uuid[])"

_EVENT_DIFFERS: Final = ", ".join(
    f"CASE WHEN stored.{name} IS DISTINCT FROM expected.{name} THEN '{name}' END"
    for name in ("cluster_id", "controller_name", "event_type", "generation", "metadata", "published_at")
)

# Rows are made from events in the same way as in the sink.
EVENT_DIFFERENCES: Final = f"""
SELECT id, what FROM (
    SELECT expected.id::text AS id,
        CASE WHEN stored.id IS NULL THEN ARRAY['missing']
             ELSE array_remove(ARRAY[{_EVENT_DIFFERS}], NULL) END AS what
    FROM ({EVENT_ROWS}) AS expected LEFT JOIN cluster_events AS stored USING (id)
) AS compared
WHERE what <> ARRAY[]::text[]
"""  # noqa: S608 (names come from our own types)

REMOVE_EVENTS: Final = "DELETE FROM cluster_events WHERE id = ANY($1::uuid[])"

# Foreign keys remove reports and schedule with the cluster. Only unchanged rows are removed: a row that the
# sink has written since is newer, and right.
REMOVE: Final = """
DELETE FROM clusters AS stored
USING unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS seen (id, state_partition, state_offset)
WHERE stored.id = seen.id
  AND (stored.state_partition, stored.state_offset) = (seen.state_partition, seen.state_offset)
"""

# --- rebuild ---------------------------------------------------------------------------------------

CLUSTERS_AFTER: Final = """
SELECT id::text, name, coalesce(target_project_id, '') AS target_project_id, created_by, generation,
    resource_version, spec, status, created_at, updated_at, deleted_at, secrets, first_report_at,
    health_override, checked_at, attached
FROM clusters WHERE id > $1::uuid ORDER BY id LIMIT $2
"""

REPORTS_OF: Final = """
SELECT cluster_id::text, controller_name, observed_generation, conditions, metadata, last_error, updated_at
FROM controller_status WHERE cluster_id = ANY($1::uuid[]) ORDER BY cluster_id, updated_at, controller_name
"""

SCHEDULES_OF: Final = """
SELECT cluster_id::text, last_reconciled_at, next_reconcile_at, enabled, needs_attention
FROM reconciliation_schedule WHERE cluster_id = ANY($1::uuid[])
"""

# Any record of the new Kafka is newer.
FORGET_PLACES: Final = """
UPDATE clusters SET state_partition = -1, state_offset = -1
WHERE (state_partition, state_offset) <> (-1, -1)
"""
