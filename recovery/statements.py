"""The SQL of recovery. A page of rows comes as one array per column, as in the sink."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple, get_args, get_type_hints

from sinks.cluster.rows import ClusterRow, ReportRow, ScheduleRow
from sinks.cluster.statements import EVENTS

_JSON: Final = frozenset({"spec", "status", "secrets", "conditions", "metadata", "last_error"})
_TYPES: Final = {str: "text", int: "bigint", bool: "boolean", datetime: "timestamptz"}
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Comparison(NamedTuple):
    """A statement, and how many columns it takes after the ids."""

    statement: str
    width: int


def _type(name: str, hint: Any) -> str:
    """The column's type, by what the sink's row type says of it."""
    if name in ("id", "cluster_id"):
        return "uuid"
    if name in _JSON:
        return "jsonb"
    (plain,) = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    return _TYPES[plain]


def _comparison(
    table: str,
    row: type,
    key: tuple[str, ...],
    *,
    free: tuple[str, ...] = (),
    fixed: Mapping[str, str] = _NOTHING,
    excused: Mapping[str, str] = _NOTHING,
) -> Comparison:
    """A statement that compares the rows of some clusters ($1: their ids) with those they should have ($2…).

    PostgreSQL compares, since only it knows when two values of a column are one (`1.0` and `1` in jsonb).

    Args:
        row: The sink's type of such rows; its fields are the columns.
        key: Columns that make a row one, the cluster's id first.
        free: Columns that no record decides.
        fixed: Columns that are no field of `row`, and what the sink lets them be.
        excused: Columns, each with the condition under which a difference is none.
    """
    types = {name: _type(name, hint) for name, hint in get_type_hints(row).items()}
    arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types.values(), start=2))
    constants = "".join(f", {value} AS {name}" for name, value in fixed.items())
    differing = ", ".join(
        f"CASE WHEN stored.{name} IS DISTINCT FROM expected.{name}"
        f"{f' AND NOT ({excused[name]})' if name in excused else ''} THEN '{name}' END"
        for name in (*types, *fixed)
        if name not in (*key, *free)
    )
    joined = " AND ".join(f"expected.{name} = stored.{name}" for name in key)
    statement = f"""
SELECT id, detail, what FROM (
    SELECT coalesce(expected.{key[0]}, stored.{key[0]})::text AS id,
        coalesce(expected.{key[-1]}, stored.{key[-1]})::text AS detail,
        CASE WHEN stored.{key[0]} IS NULL THEN ARRAY['missing']
             WHEN expected.{key[0]} IS NULL THEN ARRAY['without record']
             ELSE array_remove(ARRAY[{differing}], NULL) END AS what
    FROM (SELECT *{constants} FROM unnest({arrays}) AS given ({", ".join(types)})) AS expected
    FULL JOIN (SELECT * FROM {table} WHERE {key[0]} = ANY($1::uuid[])) AS stored ON {joined}
) AS compared
WHERE what <> ARRAY[]::text[]
"""  # noqa: S608 (names come from our own types)
    return Comparison(statement, len(types))


# A cluster that yielded its name is marked deleted until the deletion that is on its way comes
# (`sinks.cluster.names`). Whether one is on its way, `recovery.names.Yielded` sees.
_YIELDED: Final = """stored.yielded AND expected.deleted_at IS NULL AND EXISTS (
    SELECT FROM clusters AS holder
    WHERE holder.created_by = stored.created_by AND holder.name = stored.name
      AND holder.deleted_at IS NULL)"""

COMPARISONS: Final = {
    "clusters": _comparison(
        "clusters",
        ClusterRow,
        ("id",),
        fixed={"status_dirty": "false", "metadata": "'{}'::jsonb"},
        excused={"deleted_at": _YIELDED, "yielded": _YIELDED},
    ),
    "controller_status": _comparison("controller_status", ReportRow, ("cluster_id", "controller_name")),
    "reconciliation_schedule": _comparison(
        "reconciliation_schedule",
        ScheduleRow,
        ("cluster_id",),
        free=("updated_at",),  # the time of the record that changed it, which need not be the last
    ),
}

POSITIONS: Final = """
SELECT topic, partition, kafka_cluster_id, next_offset, topic_id FROM sink_offsets ORDER BY topic, partition
"""

COUNT: Final = "SELECT count(*) FROM clusters"

YIELDED: Final = """
SELECT stored.id::text, holder.id::text
FROM clusters AS stored JOIN clusters AS holder USING (created_by, name)
WHERE stored.yielded AND holder.deleted_at IS NULL
"""

WIDTHS: Final = """
SELECT relname::text, attname::text, atttypmod - 4  -- a varchar's modifier is its width and 4
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE attrelid = ANY($1::text[]::regclass[]) AND atttypid = 'varchar'::regtype AND atttypmod > 4
"""

_PLACES: Final = "SELECT id::text, state_partition, state_offset FROM clusters"

PLACES: Final = f"{_PLACES} WHERE id > $1::uuid ORDER BY id LIMIT $2"

PLACES_OF: Final = f"{_PLACES} WHERE id = ANY($1::uuid[])"

_EVENT_DIFFERS: Final = ", ".join(
    f"CASE WHEN stored.{name} IS DISTINCT FROM expected.{name} THEN '{name}' END"
    for name in ("cluster_id", "controller_name", "event_type", "generation", "metadata", "published_at")
)

# Rows are made from events as the sink makes them.
EVENT_DIFFERENCES: Final = f"""
SELECT id, what FROM (
    SELECT expected.id::text AS id,
        CASE WHEN stored.id IS NULL THEN ARRAY['missing']
             ELSE array_remove(ARRAY[{_EVENT_DIFFERS}], NULL) END AS what
    FROM ({EVENTS}) AS expected LEFT JOIN cluster_events AS stored USING (id)
) AS compared
WHERE what <> ARRAY[]::text[]
"""  # noqa: S608 (names come from our own types)

REMOVE_EVENTS: Final = "DELETE FROM cluster_events WHERE id = ANY($1::uuid[])"

# Reports and schedule go with the cluster. Only what still is as it was seen: what the sink has written since
# is newer, and right.
REMOVE: Final = """
DELETE FROM clusters AS stored
USING unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS seen (id, state_partition, state_offset)
WHERE stored.id = seen.id
  AND (stored.state_partition, stored.state_offset) = (seen.state_partition, seen.state_offset)
"""

# --- rebuild ---------------------------------------------------------------------------------------

CLUSTERS_AFTER: Final = """
SELECT id::text, name, coalesce(target_project_id, '') AS target_project_id, created_by, generation,
    resource_version, spec, status, created_at, updated_at, deleted_at, secrets, first_report_at
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

# Until when the sink had read everything, in the partition where it is longest ago.
OLDEST_READ: Final = "SELECT min(read_until) AS until, now() - min(read_until) AS age FROM sink_offsets"

# Waits for a sink in its transaction, and lets none begin another before ours is over.
LOCK_POSITIONS: Final = "LOCK TABLE sink_offsets IN SHARE ROW EXCLUSIVE MODE"

FORGET_POSITIONS: Final = "DELETE FROM sink_offsets"

# Any record of the new Kafka is newer.
FORGET_PLACES: Final = """
UPDATE clusters SET state_partition = -1, state_offset = -1
WHERE (state_partition, state_offset) <> (-1, -1)
"""
