"""The kinds that have rows, and the mappings that make them."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from database import DatabaseSettings
from database.names import DatabaseName
from sinks import address, autoscaler, checkup, droplet, job, limit, members, resource, samples, scaling, task
from sinks.cluster.mapping import ClusterRows
from sinks.events import AllEventRows
from sinks.mapping import Mappings
from sinks.table import Table, TableRows
from streams.topics import Topics

TABLES: Final[tuple[Table[Any], ...]] = (
    resource.TABLE,
    task.TABLE,
    droplet.TABLE,
    address.TABLE,
    members.TABLE,
    job.TABLE,
    checkup.TABLE,
    limit.TABLE,
    scaling.TABLE,
    autoscaler.TABLE,
)
"""Every kind that is a single table; clusters need several."""


def mappings(topics: Topics, tables: Iterable[Table[Any]] = TABLES, *, clusters: bool = True) -> Mappings:
    """The mappings of a deployment, for a database with these tables, and with or without clusters."""
    rows = [TableRows(table, topics.prefix) for table in tables]
    if not clusters:
        return Mappings(changelogs=rows)
    return Mappings(
        changelogs=[ClusterRows(topics.state), *rows],
        others=[AllEventRows(topics.events), samples.SampleRows(topics.prefix)],
    )


def by_database(
    tables: Iterable[Table[Any]],
    database: DatabaseSettings,
    elsewhere: Mapping[DatabaseName, DatabaseSettings],
) -> dict[DatabaseSettings, list[Table[Any]]]:
    """The tables of each database, if it has any; the first is that of clusters."""
    found: dict[DatabaseSettings, list[Table[Any]]] = {each: [] for each in (database, *elsewhere.values())}
    for table in tables:
        found[elsewhere.get(table.database, database)].append(table)
    return found
