"""Writes rows again from the records, in one transaction per page.

The sink keeps writing meanwhile, so a row is changed only if it still is the row that was found wrong. A row
that the sink has written since is newer, and right.
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

# The sink and a repair may lock the same rows in different orders; then PostgreSQL makes one of them try
# again.
TRIES: Final = 5


class Repair:
    """Writes to the tables of the sink while that runs.

    Args:
        refused: Collects rows that PostgreSQL does not store.
    """

    def __init__(self, pool: Pool, refused: RefusedRows) -> None:
        self._pool = pool
        self._refused = refused

    async def write(self, write: Callable[[asyncpg.Connection], Awaitable[Any]]) -> None:
        """Write in one transaction, and try again while the sink interferes.

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
        """Note a row that was not stored.

        If another row or a temporary problem of the server is the cause, the record is not at fault.
        """
        if refusal.unclear or refusal.constraint:
            log.error("PostgreSQL did not store this", extra={"table": table, "id": id, "error": refusal.why})
        else:
            self._refused.note(table, id, refusal.why)
