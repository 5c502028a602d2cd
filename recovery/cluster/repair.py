"""Writes rows of clusters and events again (`recovery.repair`)."""

from collections.abc import Mapping, Sequence

import asyncpg

from recovery.cluster import statements
from recovery.repair import Repair
from sinks.cluster.mapping import LIVE_NAME, write_states
from sinks.cluster.names import settle
from sinks.cluster.rows import EventRow, StateRows
from sinks.cluster.statements import INSERT_EVENTS
from sinks.errors import RowsRefused
from sinks.halves import or_by_halves
from sinks.mapping import columns_of
from streams.writing.outputs import RecordPosition


async def repair_states(
    repair: Repair, table: str, states: Sequence[StateRows], seen: Mapping[str, RecordPosition]
) -> None:
    """Write all rows of these clusters again.

    Args:
        table: The table under which a cluster is noted if PostgreSQL refuses it.
        seen: The records that their rows showed, without clusters that had no row.

    Raises: SinkUnavailable.
    """

    async def write(part: Sequence[StateRows], *, names_settled: bool = False) -> None:
        ids = {state.cluster.id for state in part}
        wrong = {id: place for id, place in seen.items() if id in ids}

        async def rewrite(connection: asyncpg.Connection) -> None:
            await _remove(connection, wrong)
            await write_states(connection, await settle(connection, part) if names_settled else part)

        await repair.write(rewrite)

    async def refused(state: StateRows, refusal: RowsRefused) -> None:
        try:
            if refusal.constraint == LIVE_NAME:
                await write([state], names_settled=True)
                return
        except RowsRefused as again:
            refusal = again
        repair.note(table, state.cluster.id, refusal)

    await or_by_halves(states, write, refused)


async def remove_states(repair: Repair, seen: Mapping[str, RecordPosition]) -> None:
    """Remove rows, and with them reports and schedules. Raises: SinkUnavailable."""
    await repair.write(lambda connection: _remove(connection, seen))


async def repair_events(repair: Repair, table: str, events: Sequence[EventRow]) -> None:
    """Write rows of events again. Published events never change, so nothing else writes them now.

    Raises: SinkUnavailable.
    """

    async def write(part: Sequence[EventRow]) -> None:
        await repair.write(lambda connection: _write_events(connection, part))

    async def refused(event: EventRow, refusal: RowsRefused) -> None:
        repair.note(table, event.id, refusal)

    await or_by_halves(events, write, refused)


async def _remove(connection: asyncpg.Connection, seen: Mapping[str, RecordPosition]) -> None:
    partitions, offsets = [p.partition for p in seen.values()], [p.offset for p in seen.values()]
    await connection.execute(statements.REMOVE, list(seen), partitions, offsets)


async def _write_events(connection: asyncpg.Connection, events: Sequence[EventRow]) -> None:
    await connection.execute(statements.REMOVE_EVENTS, [event.id for event in events])
    await connection.execute(INSERT_EVENTS, *columns_of(events))
