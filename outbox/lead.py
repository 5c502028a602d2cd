"""Which relay of a database is the active one: the one that holds a lock of a session in it.

Competition row by row would break the order of an aggregate, so the others stand by. The server gives the
lock up when the session ends, and sees to that itself when a relay is no longer heard of: a relay that is
killed leaves at once; one whose machine is gone, or that is frozen, is ended by the limits of the session,
which its heartbeats keep. So a standby takes over within ten seconds.

The same session is told of new rows by `NOTIFY`. A pooler in transaction mode keeps neither, so a relay needs
a connection to PostgreSQL itself.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final

import asyncpg

from database import DatabaseSettings
from database.pool import CLIENT_ERRORS

log = logging.getLogger("clusterflow.relay")

CHANNEL: Final = "outbox_events"
LOCK: Final = 0x636C737472656C61
"""The number of the lock, which nobody else locks in this database; ASCII "clstrela"."""

BEAT: Final = 2.0
"""Seconds between heartbeats."""

HEARD_WITHIN: Final = 4.0
"""Seconds without an answer after which a relay does not lead any more; the server waits twice as long."""

# A frozen process keeps its connection, and a machine that is gone does not close it.
_SESSION: Final = {
    "idle_session_timeout": "8s",
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
}

_TRY: Final = "SELECT pg_try_advisory_lock($1)"


class Lead:
    """The lead of one database, while it lasts.

    Attributes:
        woken: Set when there may be something to do; whoever does it clears it.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.woken = asyncio.Event()
        self._connection = connection
        self._heard = time.monotonic()
        connection.add_termination_listener(lambda _: self.woken.set())

    @property
    def lasts(self) -> bool:
        """Whether no other relay can have taken over."""
        return not self._connection.is_closed() and time.monotonic() - self._heard < HEARD_WITHIN

    async def begin(self) -> None:
        """Be told of new rows from now on. Raises: as asyncpg does."""
        await self._connection.add_listener(CHANNEL, lambda *_: self.woken.set())

    async def keep(self) -> None:
        """Send heartbeats until the session ends. Raises: as asyncpg does."""
        while True:
            asked = time.monotonic()
            await self._connection.execute("SELECT 1", timeout=HEARD_WITHIN)
            self._heard = asked
            await asyncio.sleep(BEAT)


@asynccontextmanager
async def lead(
    database: DatabaseSettings, *, poll: timedelta, stop: asyncio.Event, standing_by: Callable[[], None]
) -> AsyncIterator[Lead | None]:
    """Wait until no other relay leads this database, and lead it; None if asked to stop before that.

    Args:
        poll: Between two attempts.
        standing_by: Called when the database has answered, and when another relay leads it.

    Raises: as asyncpg does; OSError.
    """
    within = database.timeout.total_seconds()
    session = {"application_name": "clusterflow-relay-lead", **_SESSION}
    connection: Any = await asyncpg.connect(
        database.url, timeout=within, command_timeout=within, server_settings=session
    )
    try:
        while not (leads := await connection.fetchval(_TRY, LOCK)) and not stop.is_set():
            standing_by()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), poll.total_seconds())
        if not leads:
            yield None
            return
        led = Lead(connection)
        await led.begin()
        beats = asyncio.create_task(led.keep())
        try:
            yield led
        finally:
            beats.cancel()
            await asyncio.wait([beats])
            _tell(beats)
    finally:
        with suppress(asyncpg.PostgresError, *CLIENT_ERRORS):
            await connection.close(timeout=BEAT)


def _tell(beats: "asyncio.Task[None]") -> None:
    """Say why heartbeats have ended, if not because they were told to."""
    if not beats.cancelled() and (error := beats.exception()) is not None:
        log.warning("the lead is lost", extra={"error": repr(error)})
