"""How this process is: Kafka probed every second, the tables, the database of the sink, what writes bring."""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from database.pool import CLIENT_ERRORS, Pool
from domain.errors import Unavailable
from streams.tail import Tail
from web.outcomes import Outcomes

log = logging.getLogger("clusterflow.health")

RESULT_WITHIN: Final = 15.0
"""Seconds without a result after which workers are doubted, where no other number is given."""

_PROBE_INTERVAL: Final = 1.0
_CACHE_SECONDS: Final = 5.0
_PING_WITHIN: Final = 5.0


@dataclass(slots=True)
class Health:
    """The state of the components this process stands on.

    Attributes:
        tail: What fills the view.
        database: The sink's; None when none is configured.
        outcomes: Of the writes that were sent from here.
    """

    tail: Tail
    database: Pool | None
    kafka_healthy: bool = False
    outcomes: Outcomes = field(default_factory=lambda: Outcomes(RESULT_WITHIN, time.monotonic))
    _database: str = "unhealthy"
    _database_checked: float = -_CACHE_SECONDS

    def require_kafka(self) -> None:
        """Raises: Unavailable: at once while Kafka or the view is away, instead of letting a write wait."""
        if not self.kafka_healthy:
            raise Unavailable("Kafka is not reachable")
        self.require_view()

    def require_view(self) -> None:
        """Raises: Unavailable: the view is still being filled, so an absent cluster proves nothing."""
        if not self.tail.caught_up.is_set():
            raise Unavailable("Tables are still being read")

    @property
    def ready(self) -> bool:
        """Whether this process can serve."""
        return self.kafka_healthy and self.tail.caught_up.is_set()

    async def watch_kafka(self) -> None:
        """Probe Kafka until cancelled."""
        while True:
            try:
                await self.tail.probe()
            except Unavailable as error:
                if self.kafka_healthy:
                    log.warning("kafka is away", extra={"error": str(error)})
                self.kafka_healthy = False
            else:
                if not self.kafka_healthy:
                    log.info("kafka answers")
                self.kafka_healthy = True
            await asyncio.sleep(_PROBE_INTERVAL)

    async def components(self) -> dict[str, str]:
        """Each component as `healthy`, `degraded` or `unhealthy`."""
        return {
            "kafka": "healthy" if self.kafka_healthy else "unhealthy",
            "tables": "healthy" if self.tail.caught_up.is_set() else "unhealthy",
            "database": await self._check_database(),
        }

    async def _check_database(self) -> str:
        if time.monotonic() - self._database_checked >= _CACHE_SECONDS:
            self._database_checked = time.monotonic()  # so that nobody else asks meanwhile
            self._database = await _ping(self.database)
            self._database_checked = time.monotonic()  # asking one that hangs takes as long as this is kept
        return self._database


async def _ping(database: Pool | None) -> str:
    if database is None:
        return "degraded"
    try:
        async with asyncio.timeout(_PING_WITHIN), database.connection("ping") as connection:
            await connection.execute("SELECT 1")
    except (asyncpg.PostgresError, *CLIENT_ERRORS) as error:
        log.warning("database does not answer", extra={"error": type(error).__name__})
        return "unhealthy"
    return "healthy"
