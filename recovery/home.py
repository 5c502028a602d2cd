"""The databases of a recovery command: one for everything, or several with some kinds each."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from database import Pool
from recovery.settings import RecoverySettings
from recovery.snapshot import SESSION
from sinks.table import Table, TableRows
from sinks.tables import by_database


@dataclass(frozen=True, eq=False)
class Home:
    """One database.

    Attributes:
        rows: The rows of each kind that is one table, and where they come from.
        clusters: Whether it has clusters, too.
    """

    pool: Pool
    rows: Sequence[TableRows]
    clusters: bool

    @property
    def tables(self) -> list[str]:
        """The names of the tables that are one kind each."""
        return [rows.table.name for rows in self.rows]


@asynccontextmanager
async def homes(settings: RecoverySettings, tables: Iterable[Table[Any]]) -> AsyncIterator[list[Home]]:
    """Every database, that of clusters first; some may have nothing that comes from a changelog."""
    async with AsyncExitStack() as resources:
        found = []
        for database, of in by_database(tables, settings.database, settings.elsewhere).items():
            pool = Pool(database, application="clusterflow-recovery", session=SESSION)
            resources.push_async_callback(pool.close)
            rows = [TableRows(table, settings.kafka.topics.prefix) for table in of]
            found.append(Home(pool, rows, clusters=database == settings.database))
        yield found
