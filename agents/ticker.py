"""The clock of the stream: one tick record per partition and interval.

Every worker ticks the partitions it owns, so there is no leader to elect and none to lose. Two owners around
a rebalance tick the same slot under the same id, and a tick that comes twice finds nothing left to do.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from agents.clock import Between, Clock
from domain.errors import TransientError
from domain.ids import deterministic_id
from streams.cluster.messages import TickMessage
from streams.json import encode, rfc3339
from streams.turns.app import BatchApp
from streams.turns.lanes import GRACE
from streams.writing.outputs import Output
from streams.writing.producer import Producer

log = logging.getLogger("clusterflow.reconciliation_scheduler")

# Seconds between looks for what can't wait: little beside the debounce time.
_LOOK_EVERY: Final = 0.05

# Seconds between two slices of recovered clusters. Without them the thread that fetches got no time either:
# who waits for Python's lock asks for it after 5 ms, and each look of the loop for events began that anew.
_PAUSE: Final = 0.001

# Seconds after which a change that still waits is asked for again: the broker's clock may be behind ours.
_ASK_AGAIN: Final = 0.25


class Ticker:
    """Ticks the partitions that this worker owns.

    Args:
        clock: Says what is to be ticked for, once it has all clusters in their place.
    """

    def __init__(self, app: BatchApp, producer: Producer, clock: Clock, *, topic: str) -> None:
        self._app = app
        self._producer = producer
        self._clock = clock
        self._topic = topic
        self._asked: dict[int, tuple[datetime, float]] = {}  # by partition: for which announcement, and when
        # By task that publishes ticks, the partitions that have not acknowledged theirs, and since when.
        self._publishing: dict[asyncio.Task[None], tuple[set[int], float]] = {}

    async def tick(self, interval: timedelta) -> None:
        """Publish ticks until cancelled: at once after recovery, then at each multiple of the interval."""
        seconds = interval.total_seconds()
        while True:
            if self._app.recovering or not self._clock.indexed:
                await asyncio.sleep(_LOOK_EVERY)
                continue
            now = time.time()
            slot = int(now // seconds)
            owned = self._owned()
            silent = self._unacknowledged(longer_than=GRACE)
            await self._publish([_tick(self._topic, p, slot, now) for p in owned if p not in silent])
            await asyncio.sleep(_until_slot(slot + 1, seconds) if owned else 2 * _LOOK_EVERY)

    async def tick_between(self) -> None:
        """Publish ticks between the regular ones, for what can't wait for them, until cancelled."""
        while True:
            if self._app.recovering:
                await asyncio.sleep(_LOOK_EVERY)
            elif not self._clock.indexed:
                self._clock.index_recovered()
                await asyncio.sleep(_PAUSE)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_EVERY):
                        await self._clock.more.wait()
                self._clock.more.clear()
                await self._publish([*self._wanted(datetime.now(UTC))])

    def _owned(self) -> list[int]:
        return [tp.partition for tp in self._app.consumer.assignment() if tp.topic == self._topic]

    def _wanted(self, now: datetime) -> Iterator[Output]:
        """What can be handled soon: a partition that waits for a leader would only gather ticks."""
        waiting = self._unacknowledged().union(*self._app.held_partitions().values())
        for partition in self._owned():
            if partition in waiting:
                continue
            wanted = self._clock.between(partition)
            announce = self._asks(partition, wanted, now)
            if announce or wanted.reconcile:
                yield _between(self._topic, partition, wanted, announce=announce, now=now)

    def _asks(self, partition: int, wanted: Between, now: datetime) -> bool:
        """Whether to ask for an announcement: its time has come, and it was not asked for just now.

        Where a tick has left something, what was asked for has been answered, and others go on.
        """
        if wanted.announce_at is None or wanted.announce_at > now:
            return False
        known, at = self._asked.get(partition, (None, 0.0))
        if known == wanted.announce_at and not wanted.tick_id and time.monotonic() - at <= _ASK_AGAIN:
            return False
        self._asked[partition] = (wanted.announce_at, time.monotonic())
        return True

    def _unacknowledged(self, *, longer_than: float = 0.0) -> set[int]:
        """The partitions with a tick on its way since then, for which others are left out."""
        until = time.monotonic() - longer_than
        return {p for partitions, since in self._publishing.values() if since <= until for p in partitions}

    async def _publish(self, ticks: Sequence[Output]) -> None:
        """Publish, and wait for the acknowledgements, though not for long: a partition may have no leader."""
        if ticks:
            partitions = {tick.partition for tick in ticks if tick.partition is not None}
            publishing = asyncio.create_task(self._published(ticks, partitions))
            self._publishing[publishing] = partitions, time.monotonic()
            await asyncio.wait({publishing}, timeout=GRACE)
        for task in [task for task in self._publishing if task.done()]:
            del self._publishing[task]
            task.result()

    async def _published(self, ticks: Sequence[Output], left: set[int]) -> None:
        """Publish, and take partitions out of those that are left as soon as they have acknowledged."""
        try:
            await self._producer.publish(
                ticks, acknowledged=lambda at: left.difference_update(p.partition for p in at.values())
            )
        except TransientError as error:
            log.warning("tick not published", extra={"error": str(error)})
        finally:
            left.clear()


def _until_slot(slot: int, seconds: float) -> float:
    """Seconds until a slot begins; no more than one slot's, though our clock be set back meanwhile."""
    return min(slot * seconds - time.time(), seconds)


def _between(topic: str, partition: int, wanted: Between, *, announce: bool, now: datetime) -> Output:
    message = TickMessage(
        tick_id=deterministic_id(topic, partition, wanted.announce_at, wanted.tick_id, wanted.reconcile),
        at=rfc3339(now),
        announce=announce,
        reconcile=wanted.reconcile,
    )
    return Output(topic, str(partition).encode(), encode(message), partition=partition)


def _tick(topic: str, partition: int, slot: int, now: float) -> Output:
    message = TickMessage(
        tick_id=deterministic_id(topic, partition, slot), at=rfc3339(datetime.fromtimestamp(now, UTC))
    )
    return Output(topic, str(partition).encode(), encode(message), partition=partition)
