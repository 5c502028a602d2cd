"""Looks into outboxes, and keeps relays from leading."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from outbox.lead import LOCK

LEFT = "SELECT aggregate_id, count(*) FROM outbox_events WHERE processed_at IS NULL GROUP BY 1"


async def left(database_url: str) -> dict[str, int]:
    """How many rows of each aggregate are not published."""
    connection = await asyncpg.connect(database_url)
    try:
        return dict(await connection.fetch(LEFT))
    finally:
        await connection.close()


@asynccontextmanager
async def held(database_url: str) -> AsyncIterator[None]:
    """Keep the lead, so that relays stand by."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        yield
    finally:
        await connection.close()
