"""The role `sink`: keeps a row of every entity, and one of every event of clusters."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from sinks import role
from sinks.settings import SinkSettings
from sinks.table import Table
from sinks.tables import TABLES, mappings


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
    await role.run(settings, mappings(settings.topics, tables), stop=stop, ready=ready)
