"""Turns a cluster's rows back into the record they came from.

State that no row holds is lost, and none of it describes the cluster itself: the offsets of a Kafka that no
longer exists, the outcomes of past commands, the ids of past reports, and recent announcements.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec

from domain.cluster.names import NameRecord, name_key
from domain.cluster.state import ClusterState
from recovery.cluster import statements
from recovery.errors import RebuildRefused
from recovery.snapshot import Snapshot
from streams.cluster.codec import decode_record
from streams.json import encode
from streams.topics import Topics
from streams.writing.outputs import Output

# Marks the records of a rebuild, which a second run may write again, unlike the records of others.
REBUILD_HEADER: Final = "rebuild"
HEADERS: Final = {REBUILD_HEADER: "1"}

_AS_THEY_ARE: Final = (
    "id",
    "name",
    "target_project_id",
    "created_by",
    "generation",
    "resource_version",
    "created_at",
    "updated_at",
)


# Absent from a state that has none.
_IF_ANY: Final = ("health_override", "checked_at", "attached")


class Page(NamedTuple):
    """Some clusters, and the last id among them, after which the next page begins."""

    records: list[ClusterState]
    last_id: str


async def read_page(rows: Snapshot, after: str, limit: int) -> Page | None:
    """The next clusters in the order of their ids; None after the last.

    Raises: RebuildRefused: a row cannot have come from a record.
    """
    clusters = await rows.fetch(statements.CLUSTERS_AFTER, after, limit)
    if not clusters:
        return None
    ids = [row["id"] for row in clusters]
    reports: defaultdict[str, list[asyncpg.Record]] = defaultdict(list)
    for report in await rows.fetch(statements.REPORTS_OF, ids):
        reports[report["cluster_id"]].append(report)
    schedules = {row["cluster_id"]: row for row in await rows.fetch(statements.SCHEDULES_OF, ids)}
    return Page([_record(row, reports[row["id"]], schedules.get(row["id"])) for row in clusters], ids[-1])


def _record(
    row: asyncpg.Record, reports: Sequence[asyncpg.Record], schedule: asyncpg.Record | None
) -> ClusterState:
    state = {
        "revision": 1,
        "cluster": {
            **{name: row[name] for name in _AS_THEY_ARE},
            "spec": _json(row["spec"]),
            "status": _json(row["status"]),
        },
        "secrets": _json(row["secrets"]),
        "reports": {report["controller_name"]: _report(report) for report in reports},
        "schedule": _schedule(row, schedule),
        "first_report_at": row["first_report_at"],
        "deleted_at": row["deleted_at"],
        **{name: row[name] for name in _IF_ANY if row[name]},
    }
    try:
        return decode_record(encode(state))
    except msgspec.MsgspecError as error:
        raise RebuildRefused(
            f"cluster {row['id']} cannot be restored, its rows are not those of a record: {error}."
            " Correct them, or delete the cluster's row, and run it again"
        ) from error


def _report(row: asyncpg.Record) -> Mapping[str, Any]:
    return {
        "controller_name": row["controller_name"],
        "observed_generation": row["observed_generation"],
        "conditions": _json(row["conditions"]),
        "metadata": _json(row["metadata"]),
        "last_error": _json(row["last_error"]),
        "last_updated": row["updated_at"],
    }


def _schedule(row: asyncpg.Record, schedule: asyncpg.Record | None) -> Mapping[str, Any]:
    """The schedule; a deleted cluster has no row for it, and gets one that is never used."""
    if schedule is None:
        return {"last_reconciled_at": None, "next_reconcile_at": row["deleted_at"] or row["updated_at"]}
    return {name: value for name, value in schedule.items() if name != "cluster_id"}


def _json(text: str | None) -> msgspec.Raw:
    return msgspec.Raw(b"null" if text is None else text.encode())


def outputs(record: ClusterState, topics: Topics) -> list[Output]:
    """The records that restore a cluster: its state and, if it is live, its name."""
    cluster = record.cluster
    state = Output(topics.state, cluster.id.encode(), encode(record), HEADERS)
    if record.deleted_at is not None:
        return [state]
    holder = NameRecord(cluster_id=cluster.id, command_id="", offsets={})
    key = name_key(cluster.created_by, cluster.name).encode()
    return [state, Output(topics.names, key, encode(holder), HEADERS)]
