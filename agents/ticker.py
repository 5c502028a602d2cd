"""The clock of the stream: one tick record per partition and interval.

Every worker ticks the partitions it owns, so there is no leader to elect and none to lose. Two owners around
a rebalance tick the same slot under the same id, and a tick that comes twice finds nothing left to do.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from agents.clock import Between
from domain.decide import deterministic_id
from domain.errors import TransientError
from streams.app import BatchApp
from streams.codec import encode, rfc3339
from streams.messages import TickMessage
from streams.producer import Output, Producer

log = logging.getLogger("clusterflow.reconciliation_scheduler")

# Seconds between looks for what can't wait: little beside the debounce time.
_LOOK_EVERY: Final = 0.05

# Seconds after which a change that still waits is asked for again: the broker's clock may be behind ours.
_ASK_AGAIN: Final = 0.25


async def tick(app: BatchApp, producer: Producer, *, topic: str, interval: timedelta) -> None:
    """Publish ticks until cancelled: at once after recovery, then at each multiple of the interval."""
    seconds = interval.total_seconds()
    while True:
        if app.rebalancing or not app.tables.recovery.completed.is_set():
            await asyncio.sleep(0.05)
            continue
        now = time.time()
        slot = int(now // seconds)
        partitions = [tp.partition for tp in app.consumer.assignment() if tp.topic == topic]
        try:
            await producer.publish([_tick(topic, p, slot, now) for p in partitions])
        except TransientError as error:
            log.warning("tick not published", extra={"error": str(error)})
        await asyncio.sleep((slot + 1) * seconds - time.time() if partitions else 0.1)


async def tick_between(
    app: BatchApp, producer: Producer, *, topic: str, between: Callable[[int], Between]
) -> None:
    """Publish ticks between the regular ones, for what can't wait for them, until cancelled.

    Args:
        between: What a partition wants a tick for.
    """
    asked: dict[int, tuple[datetime, float]] = {}  # by partition, for which announcement and when
    while True:
        await asyncio.sleep(_LOOK_EVERY)
        if app.rebalancing or not app.tables.recovery.completed.is_set():
            continue
        now, clock = datetime.now(UTC), time.monotonic()
        ticks = []
        for tp in app.consumer.assignment():
            if tp.topic != topic:
                continue
            wanted = between(tp.partition)
            moment = wanted.announce_at
            announce = moment is not None and moment <= now
            if announce and moment is not None:
                known, since = asked.get(tp.partition, (None, 0.0))
                announce = known != moment or clock - since > _ASK_AGAIN
                asked[tp.partition] = (moment, clock) if announce else (moment, since)
            if announce or wanted.reconcile:
                ticks.append(_between(topic, tp.partition, wanted, announce=announce, now=now))
        try:
            await producer.publish(ticks)
        except TransientError as error:
            log.warning("tick not published", extra={"error": str(error)})


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
