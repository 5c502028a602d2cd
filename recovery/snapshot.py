"""The database at one moment: rows, and the positions up to which they reflect the topics.

The sink writes rows and positions in one transaction. So the topics up to the positions of a snapshot
determine its rows, to the last column, however busy the system is.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import asyncpg

from database import Pool
from database.pool import CLIENT_ERRORS
from recovery import statements
from recovery.comparison import Comparison
from recovery.differences import Difference, Widths
from sinks.errors import explained
from sinks.mapping import columns_of
from sinks.postgres import in_pages, transaction

# A snapshot is idle while topics are read, so its session must not time out.
SESSION: Final = {"idle_in_transaction_session_timeout": "0", "jit": "off"}


class StoredPosition(NamedTuple):
    """The sink's position in a partition, and the ids of its Kafka and topic if they are known."""

    topic: str
    partition: int
    kafka_cluster_id: str
    next_offset: int
    topic_id: str | None


class Snapshot:
    """The database as one transaction sees it."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def positions(self) -> list[StoredPosition]:
        """Every stored position."""
        return [StoredPosition(*row) for row in await self._connection.fetch(statements.POSITIONS)]

    async def last_read(self, names: Sequence[str]) -> tuple[datetime, timedelta] | None:
        """The time up to which these topics were read, and its age; None if they never were.

        Args:
            names: Their names without the prefix, which Kafka need not have any more.
        """
        row = await self._connection.fetchrow(statements.OLDEST_READ, names)
        return None if row is None or row["until"] is None else (row["until"], row["age"])

    async def fetch(self, statement: str, *args: Any) -> list[asyncpg.Record]:
        """The rows of a statement."""
        rows: list[asyncpg.Record] = await self._connection.fetch(statement, *args)
        return rows

    def pages(self, statement: str, *, after: str = "") -> AsyncIterator[asyncpg.Record]:
        """The rows of a statement, fetched in pages (`sinks.postgres.in_pages`)."""
        return in_pages(self._connection, statement, after=after)

    async def widths(self, tables: Sequence[str]) -> Widths:
        """The maximum of characters of the columns that have one."""
        found: dict[str, dict[str, int]] = {table: {} for table in tables}
        for table, column, width in await self.fetch(statements.WIDTHS, list(found)):
            found[table][column] = width
        return found

    async def differences(
        self, table: str, how: Comparison, ids: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> list[Difference]:
        """The differences between the rows of some ids and the expected rows, which may be none.

        Raises: RowsRefused: PostgreSQL cannot even compare one of them.
        """
        columns = columns_of(rows) or [()] * how.width
        async with self.savepoint():
            found = await self.fetch(how.statement, ids, *columns)
        return [_difference(table, row) for row in found]

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A block in which an error of PostgreSQL does not end the snapshot."""
        try:
            async with self._connection.transaction():
                yield
        except (asyncpg.PostgresError, *CLIENT_ERRORS) as error:
            raise explained(error) from error


def _difference(table: str, row: asyncpg.Record) -> Difference:
    detail = "" if row["detail"] == row["id"] else f"{row['detail']}: "
    return Difference(table, row["id"], detail + ", ".join(row["what"]))


@asynccontextmanager
async def snapshot(pool: Pool, operation: str) -> AsyncIterator[Snapshot]:
    """A snapshot, for as long as the block lasts. Raises: as `sinks.postgres.transaction`."""
    async with transaction(pool, operation, isolation="repeatable_read", readonly=True) as connection:
        yield Snapshot(connection)
