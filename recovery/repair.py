"""Rows written again from the records, one transaction a page.

The sink goes on meanwhile, so a row is touched only while it is what was seen to be wrong: what the sink has
written since is newer, and right.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from typing import Any, Final

import asyncpg

from database import Pool
from domain.errors import TransientError
from recovery import statements
from recovery.differences import CLUSTERS, EVENTS, RefusedRows
from sinks.cluster.mapping import LIVE_NAME, write_states
from sinks.cluster.names import settle
from sinks.cluster.rows import EventRow, StateRows
from sinks.cluster.statements import INSERT_EVENTS
from sinks.errors import RowsRefused
from sinks.halves import or_by_halves
from sinks.postgres import transaction
from streams.writing.outputs import RecordPosition

log = logging.getLogger("clusterflow.recovery")

# The sink and a repair may lock the same rows in another order; then one of them is asked to try again.
TRIES: Final = 5


class Repair:
    """Writes to the tables of the sink, beside it.

    Args:
        refused: Where rows that PostgreSQL will not store are noted.
    """

    def __init__(self, pool: Pool, refused: RefusedRows) -> None:
        self._pool = pool
        self._refused = refused

    async def states(self, states: Sequence[StateRows], seen: Mapping[str, RecordPosition]) -> None:
        """Write all rows of these clusters anew.

        Args:
            seen: Which records their rows showed; without those that had no row.

        Raises: SinkUnavailable.
        """

        async def write(part: Sequence[StateRows], *, names_settled: bool = False) -> None:
            ids = {state.cluster.id for state in part}
            wrong = {id: place for id, place in seen.items() if id in ids}

            async def rewrite(connection: asyncpg.Connection) -> None:
                await _remove(connection, wrong)
                await write_states(connection, await settle(connection, part) if names_settled else part)

            await self._tried(rewrite)

        async def refused(state: StateRows, refusal: RowsRefused) -> None:
            try:
                if refusal.constraint == LIVE_NAME:
                    await write([state], names_settled=True)
                    return
            except RowsRefused as again:
                refusal = again
            self._note(CLUSTERS, state.cluster.id, refusal)

        await or_by_halves(states, write, refused)

    async def without_record(self, seen: Mapping[str, RecordPosition]) -> None:
        """Remove rows, reports and schedules with them. Raises: SinkUnavailable."""
        await self._tried(lambda connection: _remove(connection, seen))

    async def events(self, events: Sequence[EventRow]) -> None:
        """Write rows of events anew: once told, an event never changes, so nobody else writes them now.

        Raises: SinkUnavailable.
        """

        async def write(part: Sequence[EventRow]) -> None:
            await self._tried(lambda connection: _write_events(connection, part))

        async def refused(event: EventRow, refusal: RowsRefused) -> None:
            self._note(EVENTS, event.id, refusal)

        await or_by_halves(events, write, refused)

    def _note(self, table: str, id: str, refusal: RowsRefused) -> None:
        """A row that is in the way of another, or a moment of the server's, is no fault of the record."""
        if refusal.unclear or refusal.constraint:
            log.error("PostgreSQL did not store this", extra={"table": table, "id": id, "error": refusal.why})
        else:
            self._refused.note(table, id, refusal.why)

    async def _tried(self, write: Callable[[asyncpg.Connection], Awaitable[Any]]) -> None:
        for attempt in count(1):
            try:
                async with transaction(self._pool, "repair") as connection:
                    await write(connection)
                return
            except TransientError as error:
                if attempt == TRIES:
                    raise
                await asyncio.sleep(error.retry_after)


async def _remove(connection: asyncpg.Connection, seen: Mapping[str, RecordPosition]) -> None:
    partitions, offsets = [p.partition for p in seen.values()], [p.offset for p in seen.values()]
    await connection.execute(statements.REMOVE, list(seen), partitions, offsets)


async def _write_events(connection: asyncpg.Connection, events: Sequence[EventRow]) -> None:
    await connection.execute(statements.REMOVE_EVENTS, [event.id for event in events])
    await connection.execute(INSERT_EVENTS, *zip(*events, strict=True))
