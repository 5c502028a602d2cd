"""The clock of clusters: one tick record per partition and interval, and others between two of them.

Two owners around a rebalance tick the same slot under the same id, and a tick that comes twice finds nothing
left to do.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from agents.clock import Between, Clock
from agents.waker import LOOK_EVERY, Waker
from domain.ids import deterministic_id
from streams.cluster.messages import TickMessage
from streams.json import encode, rfc3339
from streams.turns.app import BatchApp
from streams.turns.lanes import GRACE
from streams.writing.outputs import Output
from streams.writing.producer import Producer


class Ticker(Waker):
    """Ticks the partitions of clusters that this worker owns.

    Args:
        clock: Says what is to be ticked for, once it has all clusters in their place.
    """

    def __init__(self, app: BatchApp, producer: Producer, clock: Clock, *, topic: str) -> None:
        super().__init__(app, producer, clock, topic=topic)
        self._clock = clock

    async def tick(self, interval: timedelta) -> None:
        """Publish ticks until cancelled: at once after recovery, then at each multiple of the interval."""
        seconds = interval.total_seconds()
        while True:
            if self._app.recovering or not self._clock.indexed:
                await asyncio.sleep(LOOK_EVERY)
                continue
            now = time.time()
            slot = int(now // seconds)
            owned = self._owned()
            silent = self._unacknowledged(longer_than=GRACE)
            await self._publish([_tick(self._topic, p, slot, now) for p in owned if p not in silent])
            await asyncio.sleep(_until_slot(slot + 1, seconds) if owned else 2 * LOOK_EVERY)

    def _wanted(self, partitions: Sequence[int], now: datetime) -> Iterator[Output]:
        """Ticks between the regular ones, for what cannot wait for them."""
        for partition in partitions:
            wanted = self._clock.between(partition)
            announce = self._asks(partition, wanted.announce_at, now, goes_on=bool(wanted.tick_id))
            if announce or wanted.reconcile:
                yield _between(self._topic, partition, wanted, announce=announce, now=now)


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
