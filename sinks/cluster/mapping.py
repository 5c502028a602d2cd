"""The mappings of clusters: states become rows of three tables, events rows of a log."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import asyncpg
import msgspec
from aiokafka import ConsumerRecord

from sinks.cluster import statements
from sinks.cluster.names import give_back, settle
from sinks.cluster.rows import EventRow, Purge, State, StateRows, read_event, read_state, state_rows
from sinks.mapping import Change, PartitionKeys, columns_of
from sinks.postgres import ALL_ROWS, in_pages

LIVE_NAME: Final = "clusters_live_name"

# Before the id of any cluster.
FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"


class ClusterRows:
    """The states of clusters, with their reports and schedules (`sinks.mapping.ChangelogMapping`)."""

    transient: Collection[str] = frozenset({LIVE_NAME})

    def __init__(self, topic: str) -> None:
        self.topic = topic

    def read(self, record: ConsumerRecord) -> State | Purge:
        """The state, or the purge, in a record. Raises: MalformedRecord: `bad_key` or `invalid_schema`."""
        return read_state(record)

    async def write(
        self, connection: asyncpg.Connection, changes: Sequence[Change], *, make_room: bool
    ) -> Mapping[str, int]:
        """Write states and purges; to make room, settle names before (`sinks.cluster.names`)."""
        # Only the last record of a cluster in the batch matters.
        last = {record.key: (record, said) for record, said, _ in changes}
        states = [state_rows(record, said) for record, said in last.values() if isinstance(said, State)]
        purges = [said for _, said in last.values() if isinstance(said, Purge)]
        if make_room:
            states = await settle(connection, states)
        await write_states(connection, states)
        await _purge(connection, purges)
        return {"clusters": len(states)}

    async def may_vanish(self, connection: asyncpg.Connection, partition: int) -> bool:
        """Whether some row may show a record of this partition."""
        return bool(await connection.fetchval(statements.HAS_ROWS, partition, timeout=ALL_ROWS))

    async def remove_vanished(self, connection: asyncpg.Connection, keys: PartitionKeys) -> int:
        """Remove clusters, and give back the names they held."""
        vanished = []
        pages = in_pages(connection, statements.IDS_OF_PARTITION, keys.partition, after=FIRST_ID)
        async for row in pages:
            key = row["id"].encode()
            if key not in keys.known and (row["state_partition"] >= 0 or keys.owns(key)):
                vanished.append(row["id"])
        freed = await connection.fetch(statements.REMOVE_VANISHED, vanished, timeout=ALL_ROWS)
        await give_back(connection, _names(freed))
        return len(freed)


class EventRows:
    """The public events of clusters (`sinks.mapping.RowMapping`)."""

    transient: Collection[str] = frozenset()

    def __init__(self, topic: str) -> None:
        self.topic = topic

    def read(self, record: ConsumerRecord) -> EventRow:
        """The row of an event. Raises: MalformedRecord: `bad_key` or `invalid_schema`."""
        return read_event(record)

    async def write(
        self, connection: asyncpg.Connection, changes: Sequence[Change], *, make_room: bool
    ) -> Mapping[str, int]:
        """Add events. A repeated event changes nothing, so there is never room to make."""
        await _run(connection, statements.INSERT_EVENTS, [change.content for change in changes])
        return {"cluster_events": len(changes)}


async def write_states(connection: asyncpg.Connection, states: Sequence[StateRows]) -> None:
    """Write the rows of clusters, each only if it is newer than what is there."""
    if not states:
        return
    # Deleted clusters first: one of them may hold the name of a new one.
    ordered = sorted(states, key=lambda state: state.cluster.deleted_at is None)
    clusters = columns_of([state.cluster for state in ordered])
    written = await connection.fetch(statements.UPSERT_CLUSTERS, *clusters)
    if len(written) < len(states):  # the other rows already show a newer record
        ids = {row["id"] for row in written}
        ordered = [state for state in ordered if state.cluster.id.lower() in ids]
    reports = [report for state in ordered for report in state.reports]
    await _run(connection, statements.UPSERT_REPORTS, reports)
    kept = [
        (state.cluster.id, _json([report.controller_name for report in state.reports])) for state in ordered
    ]
    await _run(connection, statements.DELETE_VANISHED_REPORTS, kept)
    schedules = [state.schedule for state in ordered if state.schedule is not None]
    await _run(connection, statements.UPSERT_SCHEDULES, schedules)
    unscheduled = [(state.cluster.id,) for state in ordered if state.schedule is None]
    await _run(connection, statements.DELETE_SCHEDULES, unscheduled)
    gone = (s.cluster for s in states if s.cluster.deleted_at is not None and not s.cluster.yielded)
    await give_back(connection, [(cluster.created_by, cluster.name) for cluster in gone])


async def _purge(connection: asyncpg.Connection, purges: Sequence[Purge]) -> None:
    if purges:
        freed = await connection.fetch(statements.PURGE, *columns_of(purges))
        await give_back(connection, _names(freed))


async def _run(connection: asyncpg.Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Run a statement that takes one array per column; do nothing without rows."""
    if rows:
        await connection.execute(statement, *columns_of(rows))


def _names(rows: Iterable[asyncpg.Record]) -> list[tuple[str, str]]:
    return [(row["created_by"], row["name"]) for row in rows]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
