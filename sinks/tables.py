"""The kinds that have rows, and the mappings that make them."""

from collections.abc import Iterable
from typing import Any, Final

from sinks import resource, task
from sinks.cluster.mapping import ClusterRows, EventRows
from sinks.mapping import Mappings
from sinks.table import Table, TableRows
from streams.topics import Topics

TABLES: Final[tuple[Table[Any], ...]] = (resource.TABLE, task.TABLE)
"""Every kind that is a single table; clusters need several."""


def mappings(topics: Topics, tables: Iterable[Table[Any]] = TABLES) -> Mappings:
    """The mappings of a deployment."""
    return Mappings(
        changelogs=[ClusterRows(topics.state), *(TableRows(table, topics.prefix) for table in tables)],
        others=[EventRows(topics.events)],
    )
