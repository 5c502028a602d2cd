"""A pool of connections within four bounds: open, idle, life and idle time, as `database/sql` in Go has them.

asyncpg's pool knows the first and the last; the other two are added here. Nothing connects before it is
needed, so a process starts while its database is away.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from weakref import WeakSet

import asyncpg
from prometheus_client import Gauge, Histogram

from database.pooler import Pooler

log = logging.getLogger("clusterflow.repository")

ACTIVE: Final = Gauge("clusterflow_database_connections_active", "Connections in use")
IDLE: Final = Gauge("clusterflow_database_connections_idle", "Connections open and unused")
MAX: Final = Gauge("clusterflow_database_connections_max", "Connections that may be open")
QUERY_SECONDS: Final = Histogram(
    "clusterflow_database_query_duration_seconds",
    "Time of one statement",
    ["operation"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)

# Contract, section 9.
SLOW_SECONDS: Final = 0.1

# What asyncpg raises beside the server's own refusals; TimeoutError is an OSError.
CLIENT_ERRORS: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

_SET_LOCAL: Final = """
SELECT set_config(name, value, true) FROM unnest($1::text[], $2::text[]) AS settings (name, value)
"""

# Classes of SQLSTATE.
_ROWS: Final = ("21", "22", "23")

# Seconds to say goodbye to the database.
CLOSE_WITHIN: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """How a process reaches PostgreSQL.

    Attributes:
        url: With user and password; so never shown.
        max_open: Connections at most; who needs one more waits.
        max_idle: Connections at most that stay open with nothing to do.
        max_lifetime: Age at which a connection is replaced, at its next use.
        max_idle_time: How long a connection may have nothing to do before it is closed.
        timeout: Of connecting, and of one statement.
        pooler: What stands in between; behind one, a connection is used in transactions alone.
    """

    url: str = field(repr=False)
    max_open: int = 25
    max_idle: int = 5
    max_lifetime: timedelta = timedelta(minutes=5)
    max_idle_time: timedelta = timedelta(minutes=1)
    timeout: timedelta = timedelta(seconds=30)
    pooler: Pooler = Pooler.NONE


class Connections(NamedTuple):
    """Connections that have nothing to do and that are used, and how many there may be."""

    idle: int
    active: int
    most: int


_WATCHED: Final[WeakSet["Pool"]] = WeakSet()


class Pool:
    """Connections of one process to one database.

    Args:
        application: How the server's own views name these connections.
        session: Settings of every session; behind a pooler, of every transaction.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        application: str,
        session: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._settings = settings
        self._session = {"application_name": application, **session}
        self._pooled = settings.pooler is not Pooler.NONE
        self._inner: asyncpg.Pool | None = None
        self._renewed = monotonic()

    def watched(self) -> None:
        """Let the connection gauges of this process count this pool, too."""
        _WATCHED.add(self)
        MAX.set_function(lambda: sum(pool.connections.most for pool in _WATCHED))
        IDLE.set_function(lambda: sum(pool.connections.idle for pool in _WATCHED))
        ACTIVE.set_function(lambda: sum(pool.connections.active for pool in _WATCHED))

    @property
    def connections(self) -> Connections:
        """How many connections there are now."""
        if self._inner is None:
            return Connections(0, 0, self._settings.max_open)
        idle: int = self._inner.get_idle_size()
        return Connections(idle, self._inner.get_size() - idle, self._settings.max_open)

    @asynccontextmanager
    async def connection(self, operation: str) -> AsyncIterator[asyncpg.Connection]:
        """A connection of one's own; its statements count as this operation.

        Raises:
            OSError: the server does not answer, or the connection is gone.
            asyncpg.PostgresError, asyncpg.InterfaceError: as asyncpg does.
        """
        pool = await self._opened()
        connection: Any = await pool.acquire(timeout=self._settings.timeout.total_seconds())
        try:
            with connection.query_logger(_Observer(operation)):
                yield connection
        except (asyncpg.PostgresError, *CLIENT_ERRORS, asyncio.CancelledError) as error:
            if _is_cut(connection):
                if isinstance(error, Exception):
                    raise ConnectionResetError(f"the connection is gone: {error!r}") from error
            elif not _about_rows(error):
                connection.terminate()
            raise
        else:
            if pool.get_idle_size() >= self._settings.max_idle:
                connection.terminate()
        finally:
            await pool.release(connection, timeout=CLOSE_WITHIN)

    @asynccontextmanager
    async def transaction(self, operation: str, **options: Any) -> AsyncIterator[asyncpg.Connection]:
        """A transaction on a connection of one's own; options are of `asyncpg.Connection.transaction`.

        Raises: as `connection` does.
        """
        async with self.connection(operation) as connection, connection.transaction(**options):
            if self._pooled:
                await connection.execute(_SET_LOCAL, [*self._session], [*self._session.values()])
            yield connection

    async def _opened(self) -> asyncpg.Pool:
        if self._inner is None:
            self._inner = self._pool()
        pool = await self._inner
        if monotonic() - self._renewed > self._settings.max_lifetime.total_seconds():
            self._renewed = monotonic()
            await pool.expire_connections()  # at their next use; unused ones end by their idle time
        return pool

    def _pool(self) -> asyncpg.Pool:
        settings = self._settings
        return asyncpg.create_pool(
            settings.url,
            min_size=0,
            max_size=settings.max_open,
            max_inactive_connection_lifetime=settings.max_idle_time.total_seconds(),
            timeout=settings.timeout.total_seconds(),
            command_timeout=settings.timeout.total_seconds(),
            # Unnamed statements live as long as their transaction.
            statement_cache_size=0 if self._pooled else 100,
            server_settings={} if self._pooled else self._session,
            reset=_nothing_to_reset,
        )

    async def close(self) -> None:
        """Close every connection; what is not committed is rolled back."""
        _WATCHED.discard(self)
        _WATCHED.discard(self)
        if self._inner is None:
            return
        pool, self._inner = self._inner, None
        try:
            await asyncio.wait_for(pool.close(), CLOSE_WITHIN)
        except (asyncpg.PostgresError, *CLIENT_ERRORS) as error:
            log.info("connections were cut", extra={"error": type(error).__name__})


async def _nothing_to_reset(connection: asyncpg.Connection) -> None:
    """Sessions have no state here, so a connection goes back without a word to the server."""


def _is_cut(connection: asyncpg.Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has taken it back already
        return True


def _about_rows(error: BaseException) -> bool:
    """Whether the server refused rows, which says nothing against the connection."""
    return (getattr(error, "sqlstate", None) or "")[:2] in _ROWS


class _Observer:
    """Times the statements of an operation; says nothing of their text and arguments."""

    def __init__(self, operation: str) -> None:
        self._operation = operation

    def __call__(self, query: Any) -> None:
        QUERY_SECONDS.labels(self._operation).observe(query.elapsed)
        if query.elapsed > SLOW_SECONDS:
            said = {"performance": "slow", "operation": self._operation}
            log.warning("slow query", extra={**said, "duration_ms": round(query.elapsed * 1000, 3)})
