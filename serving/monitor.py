"""Monitors this process: Kafka by a probe each second, tables, the sink's database, and results."""

import asyncio
import logging
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from database.pool import CLIENT_ERRORS, Pool
from domain.errors import Unavailable, Untaken
from serving.outcomes import Outcomes
from streams.kafka.unavailable import UNAVAILABLE_PARTITIONS, Partition, named
from streams.reading.tail import Tail

log = logging.getLogger("clusterflow.health")

RESULT_WITHIN: Final = 15.0
"""The default of seconds without a result after which workers count as degraded."""

_PROBE_INTERVAL: Final = 1.0
_CACHE_SECONDS: Final = 5.0
_PING_WITHIN: Final = 5.0

_MAX_NAMED: Final = 5
"""How many unavailable partitions a reason names; the rest is counted, and `/ready` names all."""


@dataclass(slots=True)
class HealthMonitor:
    """The state of the components that this process depends on.

    Attributes:
        tail: The consumer that fills the view.
        database: The sink's database; None if none is configured.
        kafka_healthy: Whether any broker answers.
        unavailable: The partitions whose leader does not answer or accept writes, as of the last check.
        outcomes: The outcomes of the writes that this process has sent.
    """

    tail: Tail
    database: Pool | None
    kafka_healthy: bool = False
    unavailable: Set[Partition] = frozenset()
    outcomes: Outcomes = field(default_factory=lambda: Outcomes(RESULT_WITHIN, time.monotonic))
    _database: str = "unhealthy"
    _database_checked: float = -_CACHE_SECONDS

    def require_kafka(self) -> None:
        """Raises: Unavailable: Kafka or the view is away, so that a write would wait for nothing."""
        if not self.kafka_healthy:
            self.require_view()
            raise Untaken("Kafka is not reachable")
        self.require_view()

    def require_view(self) -> None:
        """Raises: Unavailable: the view is still being filled, so a missing cluster may exist."""
        if not self.tail.caught_up.is_set():
            raise Unavailable("Tables are still being read")

    def require_partitions(self, partitions: Set[Partition]) -> None:
        """Raises: Unavailable: the leader of one does not answer, so there may be unread records."""
        if not self.unavailable.isdisjoint(partitions):
            raise Unavailable("A partition has no leader that answers, so not everything could be read")

    @property
    def ready(self) -> bool:
        """Whether this process can serve requests, possibly not for every partition."""
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

    async def watch_partitions(self, *looks: Callable[[], Set[Partition]]) -> None:
        """Keep `unavailable` as the union of what `looks` return, and report it, until cancelled."""

        def look() -> Set[Partition]:
            self.unavailable = frozenset[Partition]().union(*[each() for each in looks])
            return self.unavailable

        await UNAVAILABLE_PARTITIONS.watch(look)

    @property
    def kafka_fault(self) -> str | None:
        """A sentence about the fault of Kafka while some broker answers; None without a fault."""
        if not self.unavailable or not self.kafka_healthy:
            return None
        names = named(self.unavailable)
        more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
        have = "1 partition has" if len(names) == 1 else f"{len(names)} partitions have"
        return f"{have} no leader that answers or takes writes: {', '.join(names[:_MAX_NAMED])}{more}"

    async def components(self) -> dict[str, str]:
        """Each component as `healthy`, `degraded` or `unhealthy`."""
        some = "healthy" if self.kafka_fault is None else "degraded"
        return {
            "kafka": some if self.kafka_healthy else "unhealthy",
            "tables": "healthy" if self.tail.caught_up.is_set() else "unhealthy",
            "database": await self._check_database(),
        }

    async def _check_database(self) -> str:
        if time.monotonic() - self._database_checked >= _CACHE_SECONDS:
            self._database_checked = time.monotonic()  # so that no other request checks meanwhile
            self._database = await _ping(self.database)
            self._database_checked = time.monotonic()  # a check that hangs takes as long as this is kept
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
