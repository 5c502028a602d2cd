"""The executors of jobs, all together, and how much of a queue they may have (operations contract, 4.4)."""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from aiokafka.errors import KafkaError
from prometheus_client import Gauge

from domain.errors import Unavailable
from streams.kafka.admin import group_members
from streams.settings import JOB_EXECUTOR_GROUP, KafkaSettings

log = logging.getLogger("clusterflow.api_server")

LOOK_EVERY: Final = 5.0
"""Seconds between two looks at who is there."""

RETRY_AFTER: Final = 5.0
"""Seconds after which a caller may try again whose job found the queue full."""


QUEUED: Final = Gauge("clustergenie_workerpool_queue_length", "Jobs that wait")
ACTIVE: Final = Gauge("clustergenie_workerpool_active_workers", "Jobs that are being done")
WORKERS: Final = Gauge("clustergenie_workerpool_worker_count", "Jobs that may be done at one time")


class QueueFull(Unavailable):
    """As many jobs wait as may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPoolSettings:
    """What one executor of jobs does and may have waiting.

    Attributes:
        places: Jobs that it does at one time.
        queue: Jobs that may wait for it.
    """

    places: int = 4
    queue: int = 100


class JobPool:
    """Knows the executors of jobs, by the consumer group that shares the queue among them.

    Attributes:
        instances: Their ids as members of the group, in order; as they were at the last look that succeeded.
    """

    def __init__(self, settings: JobPoolSettings) -> None:
        self._settings = settings
        self._coming = 0
        self.instances: tuple[str, ...] = ()

    @property
    def workers(self) -> int:
        """Jobs that may be done at one time, by all of them."""
        return self._settings.places * len(self.instances)

    @property
    def capacity(self) -> int:
        """Jobs that may wait, for all of them; while there is none, for the first one to come."""
        return self._settings.queue * max(1, len(self.instances))

    @contextmanager
    def admitted(self, queued: int) -> Iterator[None]:
        """Let a job into the queue; while this lasts it counts as waiting.

        Args:
            queued: Jobs that wait already, apart from those that are being let in.

        Raises: QueueFull.
        """
        if queued + self._coming >= self.capacity:
            raise QueueFull("The queue of jobs is full", retry_after=RETRY_AFTER)
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1

    def show(self, counts: Mapping[str, int]) -> None:
        """Set the metrics of the pool.

        Args:
            counts: How many jobs there are, by their status.
        """
        QUEUED.set(counts.get("queued", 0))
        ACTIVE.set(counts.get("processing", 0))
        WORKERS.set(self.workers)

    async def watch(self, kafka: KafkaSettings) -> None:
        """Look who is there, until cancelled."""
        known = True
        while True:
            try:
                found = await group_members(kafka, kafka.topics.prefix + JOB_EXECUTOR_GROUP)
            except (KafkaError, OSError, TimeoutError) as error:
                if known:  # once for each time that it is away
                    log.warning("executors of jobs are not known now", extra={"error": repr(error)})
                known = False
            else:
                self.instances, known = tuple(sorted(found)), True
            await asyncio.sleep(LOOK_EVERY)
