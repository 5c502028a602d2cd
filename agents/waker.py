"""The owner of a partition asks for what time brings: it publishes wakes when the first moment has passed.

Every worker does so for the partitions it owns, so there is no leader to elect and none to lose. Two owners
around a rebalance may both ask, and the second wake finds nothing left to do.

A partition whose leader does not answer would only gather wakes, so one that has not acknowledged its last,
or whose commits wait, is passed over.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from agents.entity import KindAgent
from domain.errors import TransientError
from streams.flow import Flow
from streams.turns.app import BatchApp
from streams.turns.lanes import GRACE
from streams.writing.outputs import Output
from streams.writing.producer import Producer

log = logging.getLogger("clusterflow.agents")

LOOK_EVERY: Final = 0.05
"""Seconds between two looks for moments that have passed: little beside any interval of a kind."""

SLICE_PAUSE: Final = 0.001
"""Seconds between two slices of recovered states.

Without the pause the thread that fetches got no time either: a thread that waits for the lock of Python asks
for it after 5 ms, and each look of the loop for events began that wait again.
"""

ASK_AGAIN: Final = 0.25
"""Seconds after which a moment that still waits is asked for again: the broker's clock may be behind ours."""


class Timers(Protocol):
    """What a waker looks at: an index of moments beside a table (`agents.wakes`, `agents.clock`).

    Attributes:
        more: Set when the last wake has left something.
    """

    more: asyncio.Event

    @property
    def indexed(self) -> bool:
        """Whether everything that was recovered is indexed."""

    def index_recovered(self) -> None:
        """Index the next slice of what was recovered."""


class Waker:
    """Publishes the clock records of one topic for the partitions that this worker owns."""

    def __init__(self, app: BatchApp, producer: Producer, timers: Timers, *, topic: str) -> None:
        self._app = app
        self._producer = producer
        self._timers = timers
        self._topic = topic
        self._asked: dict[int, tuple[datetime, float]] = {}  # by partition: for which moment, and when
        # By task that publishes, the partitions that have not acknowledged their record, and since when.
        self._publishing: dict[asyncio.Task[None], tuple[set[int], float]] = {}

    async def run(self) -> None:
        """Index what was recovered and ask for what is due, until cancelled."""
        while True:
            if self._app.recovering:
                await asyncio.sleep(LOOK_EVERY)
            elif not self._timers.indexed:
                self._timers.index_recovered()
                await asyncio.sleep(SLICE_PAUSE)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY):
                        await self._timers.more.wait()
                self._timers.more.clear()
                now = datetime.now(UTC)
                waiting = self._unacknowledged().union(*self._app.held_partitions().values())
                owned = [partition for partition in self._owned() if partition not in waiting]
                await self._publish([*self._wanted(owned, now)])

    def _wanted(self, partitions: Sequence[int], now: datetime) -> Iterator[Output]:
        """The records that some partitions want now."""
        raise NotImplementedError

    def _owned(self) -> list[int]:
        return [tp.partition for tp in self._app.consumer.assignment() if tp.topic == self._topic]

    def _asks(self, partition: int, moment: datetime | None, now: datetime, *, goes_on: bool) -> bool:
        """Whether to ask for a moment: it has come, and was not asked for just now.

        Args:
            goes_on: Whether what was asked for has been answered, and others of that moment are left.
        """
        if moment is None or moment > now:
            return False
        known, at = self._asked.get(partition, (None, 0.0))
        if known == moment and not goes_on and time.monotonic() - at <= ASK_AGAIN:
            return False
        self._asked[partition] = (moment, time.monotonic())
        return True

    def _unacknowledged(self, *, longer_than: float = 0.0) -> set[int]:
        """The partitions with a record on its way since then, for which others are left out."""
        until = time.monotonic() - longer_than
        return {p for partitions, since in self._publishing.values() if since <= until for p in partitions}

    async def _publish(self, outputs: Sequence[Output]) -> None:
        """Publish, and wait for the acknowledgements, though not for long: a partition may have no leader."""
        if outputs:
            partitions = {output.partition for output in outputs if output.partition is not None}
            publishing = asyncio.create_task(self._published(outputs, partitions))
            self._publishing[publishing] = partitions, time.monotonic()
            await asyncio.wait({publishing}, timeout=GRACE)
        for task in [task for task in self._publishing if task.done()]:
            del self._publishing[task]
            task.result()

    async def _published(self, outputs: Sequence[Output], left: set[int]) -> None:
        """Publish, and take partitions out of those that are left as soon as they have acknowledged."""
        try:
            await self._producer.publish(
                outputs, acknowledged=lambda at: left.difference_update(p.partition for p in at.values())
            )
        except TransientError as error:
            log.warning("clock record not published", extra={"topic": self._topic, "error": str(error)})
        finally:
            left.clear()


class KindWaker(Waker):
    """Wakes the entities of a kind."""

    def __init__(self, app: BatchApp, producer: Producer, agent: KindAgent[Any, Any, Any]) -> None:
        self._flow: Flow[Any, Any, Any] = agent.flow
        self._wakes = agent.wakes
        super().__init__(app, producer, agent.wakes, topic=self._flow.commands)

    def _wanted(self, partitions: Sequence[int], now: datetime) -> Iterator[Output]:
        for partition in partitions:
            goes_on = self._wakes.take_left(partition)
            if self._asks(partition, self._wakes.wanted_at(partition), now, goes_on=goes_on):
                committed = self._app.committed.get((self._topic, partition), 0)
                yield self._flow.wake(partition, now, committed=committed)
