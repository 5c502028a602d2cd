"""The database at one moment: rows, and the positions up to which they reflect the topics.

The sink writes rows and positions in one transaction. So what one snapshot shows of both is decided by the
topics up to these positions, to the last column, however busy the system is.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import asyncpg

from database import Pool
from database.pool import CLIENT_ERRORS
from recovery import statements
from recovery.differences import CLUSTERS, EVENTS, REPORTS, SCHEDULES, Difference, Widths
from sinks.cluster.mapping import FIRST_ID
from sinks.cluster.rows import EventRow, StateRows
from sinks.errors import explained
from sinks.postgres import in_pages, transaction
from streams.writing.outputs import RecordPosition

# A snapshot is idle while topics are read.
SESSION: Final = {"idle_in_transaction_session_timeout": "0", "jit": "off"}


class StoredPosition(NamedTuple):
    """How far the sink has read a partition of a topic, and of which Kafka and topic, where that is known."""

    topic: str
    partition: int
    kafka_cluster_id: str
    next_offset: int
    topic_id: str | None


class Snapshot:
    """What one transaction sees."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def positions(self) -> list[StoredPosition]:
        """Every stored position."""
        return [StoredPosition(*row) for row in await self._connection.fetch(statements.POSITIONS)]

    async def last_read(self) -> tuple[datetime, timedelta] | None:
        """Until when the sink had read everything, and how long ago that is; None if it never ran."""
        row = await self._connection.fetchrow(statements.OLDEST_READ)
        return None if row is None or row["until"] is None else (row["until"], row["age"])

    async def count(self) -> int:
        """Clusters, the deleted among them."""
        return int(await self._connection.fetchval(statements.COUNT))

    async def widths(self) -> Widths:
        """How many characters fit the columns that have a bound."""
        found: dict[str, dict[str, int]] = {table: {} for table in (*statements.COMPARISONS, EVENTS)}
        for table, column, width in await self._connection.fetch(statements.WIDTHS, list(found)):
            found[table][column] = width
        return found

    async def differences(self, states: Sequence[StateRows]) -> list[Difference]:
        """What differs of the rows of these clusters, row by row.

        Raises: RowsRefused: PostgreSQL cannot even compare one of them.
        """
        async with self._savepoint():
            return await self._differences(states)

    async def _differences(self, states: Sequence[StateRows]) -> list[Difference]:
        ids = [state.cluster.id for state in states]
        expected: Mapping[str, Sequence[tuple[Any, ...]]] = {
            CLUSTERS: [state.cluster for state in states],
            REPORTS: [report for state in states for report in state.reports],
            SCHEDULES: [state.schedule for state in states if state.schedule is not None],
        }
        found = []
        for table, rows in expected.items():
            statement, width = statements.COMPARISONS[table]
            columns = list(zip(*rows, strict=True)) or [()] * width
            for row in await self._connection.fetch(statement, ids, *columns):
                detail = "" if row["detail"] == row["id"] else f"{row['detail']}: "
                found.append(Difference(table, row["id"], detail + ", ".join(row["what"])))
        return found

    async def places(self, ids: Sequence[str]) -> dict[str, RecordPosition]:
        """Which records the rows of some clusters show; without those that have no row."""
        rows = await self._connection.fetch(statements.PLACES_OF, ids)
        return {row[0]: RecordPosition(row[1], row[2]) for row in rows}

    async def all_places(self) -> AsyncIterator[tuple[str, RecordPosition]]:
        """The same of all rows."""
        async for row in in_pages(self._connection, statements.PLACES, after=FIRST_ID):
            yield row[0], RecordPosition(row[1], row[2])

    async def event_differences(self, events: Sequence[EventRow]) -> list[Difference]:
        """What differs of the rows of these events; there may be none. Raises: RowsRefused."""
        columns = list(zip(*events, strict=True)) or [()] * len(EventRow._fields)
        async with self._savepoint():
            rows = await self._connection.fetch(statements.EVENT_DIFFERENCES, *columns)
        return [Difference(EVENTS, row["id"], ", ".join(row["what"])) for row in rows]

    async def yielded(self) -> list[tuple[str, str]]:
        """Clusters that are marked deleted for their name's sake, each with the one that holds it."""
        return [(row[0], row[1]) for row in await self._connection.fetch(statements.YIELDED)]

    @asynccontextmanager
    async def _savepoint(self) -> AsyncIterator[None]:
        """What PostgreSQL refuses within takes nothing else of the snapshot with it."""
        try:
            async with self._connection.transaction():
                yield
        except (asyncpg.PostgresError, *CLIENT_ERRORS) as error:
            raise explained(error) from error

    async def clusters_after(self, cluster_id: str, limit: int) -> list[asyncpg.Record]:
        """The next clusters in the order of their ids."""
        rows: list[asyncpg.Record] = await self._connection.fetch(
            statements.CLUSTERS_AFTER, cluster_id, limit
        )
        return rows

    async def reports_of(self, ids: Sequence[str]) -> list[asyncpg.Record]:
        """The reports on some clusters."""
        rows: list[asyncpg.Record] = await self._connection.fetch(statements.REPORTS_OF, ids)
        return rows

    async def schedules_of(self, ids: Sequence[str]) -> list[asyncpg.Record]:
        """The schedules of some clusters."""
        rows: list[asyncpg.Record] = await self._connection.fetch(statements.SCHEDULES_OF, ids)
        return rows


@asynccontextmanager
async def snapshot(pool: Pool, operation: str) -> AsyncIterator[Snapshot]:
    """A snapshot, for as long as the block lasts. Raises: as `sinks.postgres.transaction`."""
    async with transaction(pool, operation, isolation="repeatable_read", readonly=True) as connection:
        yield Snapshot(connection)
