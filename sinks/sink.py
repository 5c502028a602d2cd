"""The role `sink`: keeps a row of every entity, and one of every event of clusters."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from sinks import role
from sinks.settings import SinkSettings
from sinks.table import Table
from sinks.tables import TABLES, by_database, mappings


async def run(
    settings: SinkSettings,
    *,
    stop: asyncio.Event,
    ready: Callable[[bool], None] = lambda available: None,
    tables: Iterable[Table[Any]] = TABLES,
) -> None:
    """Write states until asked to stop (`sinks.role.run`).

    Args:
        tables: Kinds to write, beside clusters.
    """
    homes = by_database(tables, settings.database, settings.elsewhere)
    shares = [
        role.Share(database, mappings(settings.topics, of, clusters=database == settings.database))
        for database, of in homes.items()
        if of or database == settings.database
    ]
    await role.run(settings, shares, stop=stop, ready=ready)
