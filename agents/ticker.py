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

from domain.decide import deterministic_id
from domain.errors import TransientError
from streams.app import BatchApp
from streams.codec import encode, rfc3339
from streams.messages import TickMessage
from streams.producer import Output, Producer

log = logging.getLogger("clusterflow.reconciliation_scheduler")

# Seconds between looks for changes to announce: little beside the debounce time.
_LOOK_EVERY: Final = 0.2


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


async def tick_for_announcements(
    app: BatchApp, producer: Producer, *, topic: str, announces_at: Callable[[int], datetime | None]
) -> None:
    """Publish a tick whenever a change has waited its time to be announced, until cancelled.

    Args:
        announces_at: When the first waiting change of a partition may be announced.
    """
    while True:
        await asyncio.sleep(_LOOK_EVERY)
        if app.rebalancing or not app.tables.recovery.completed.is_set():
            continue
        now = datetime.now(UTC)
        partitions = [tp.partition for tp in app.consumer.assignment() if tp.topic == topic]
        moments = {p: at for p in partitions if (at := announces_at(p)) is not None and at <= now}
        try:
            # Again at every look until it is done: two are told apart by the moment they are for.
            await producer.publish([_announce(topic, p, at, now) for p, at in moments.items()])
        except TransientError as error:
            log.warning("tick not published", extra={"error": str(error)})


def _announce(topic: str, partition: int, moment: datetime, now: datetime) -> Output:
    tick_id = deterministic_id(topic, partition, "announce", moment.isoformat())
    message = TickMessage(tick_id=tick_id, at=rfc3339(now), announce=True)
    return Output(topic, str(partition).encode(), encode(message), partition=partition)


def _tick(topic: str, partition: int, slot: int, now: float) -> Output:
    message = TickMessage(
        tick_id=deterministic_id(topic, partition, slot), at=rfc3339(datetime.fromtimestamp(now, UTC))
    )
    return Output(topic, str(partition).encode(), encode(message), partition=partition)
