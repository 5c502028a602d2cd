"""The role `sink`: keeps a row of every entity, and one of every event of clusters."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from database import Pool
from sinks import role
from sinks.samples import prune
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
    pool = Pool(settings.database, application=settings.client_id)
    pruning = asyncio.create_task(prune(pool, settings.samples_kept))
    try:
        await role.run(settings, shares, stop=stop, ready=ready)
    finally:
        pruning.cancel()
        await asyncio.wait({pruning})
        await pool.close()
