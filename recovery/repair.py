"""Rows written again from the records, one transaction a page.

The sink goes on meanwhile, so a row is touched only while it is what was seen to be wrong: what the sink has
written since is newer, and right.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, Final

import asyncpg

from database import Pool
from domain.errors import TransientError
from recovery.differences import RefusedRows
from sinks.errors import RowsRefused
from sinks.postgres import transaction

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

    async def write(self, write: Callable[[asyncpg.Connection], Awaitable[Any]]) -> None:
        """Write in one transaction, again while the sink is in the way.

        Raises: SinkUnavailable; RowsRefused.
        """
        for attempt in count(1):
            try:
                async with transaction(self._pool, "repair") as connection:
                    await write(connection)
                return
            except TransientError as error:
                if attempt == TRIES:
                    raise
                await asyncio.sleep(error.retry_after)

    def note(self, table: str, id: str, refusal: RowsRefused) -> None:
        """Note what was not stored.

        A row that is in the way of another, or a moment of the server's, is no fault of the record.
        """
        if refusal.unclear or refusal.constraint:
            log.error("PostgreSQL did not store this", extra={"table": table, "id": id, "error": refusal.why})
        else:
            self._refused.note(table, id, refusal.why)
