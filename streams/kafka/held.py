"""Reports partitions that an open transaction holds back, which would otherwise look like a hang.

All our consumers read committed records only. While a producer has a transaction open in a partition, they
get no record after its first one until it commits, aborts, or reaches its time-out (`transaction.timeout.ms`,
at most the broker's `transaction.max.timeout.ms`). Each fetch returns both ends of a partition: the high
watermark, and the last stable offset, up to which all transactions have ended.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final

from aiokafka import TopicPartition
from prometheus_client import Gauge

log = logging.getLogger("clusterflow.held")

HELD_PARTITIONS = Gauge(
    "clusterflow_held_partitions", "Partitions held back by an open transaction of another program", ["topic"]
)

# Seconds for which a transaction may hold a partition back before that is reported.
REPORTED_AFTER: Final = 2.0

_LOOK_EVERY: Final = 0.5


class HeldPartitions:
    """The partitions held back now, for all watched consumers of this process."""

    def __init__(self) -> None:
        self._seen: dict[object, set[TopicPartition]] = {}  # by watcher, at its last look
        self._since: dict[TopicPartition, float] = {}  # monotonic
        self._reported: set[TopicPartition] = set()

    @property
    def names(self) -> list[str]:
        """The partitions held back for longer than `REPORTED_AFTER`, as `topic/partition`."""
        return [f"{tp.topic}/{tp.partition}" for tp in sorted(self._reported)]

    async def watch(self, consumers: Callable[[], Iterable[Any]]) -> None:
        """Watch these consumers until cancelled.

        Args:
            consumers: Returns the aiokafka consumers that are running now; they may change.
        """
        who = object()
        try:
            while True:
                self._seen[who] = {tp for consumer in consumers() for tp in _held(consumer)}
                self._note(monotonic())
                await asyncio.sleep(_LOOK_EVERY)
        finally:
            self._seen.pop(who, None)
            self._note(monotonic())

    def _note(self, now: float) -> None:
        held = set().union(*self._seen.values())
        self._since = {tp: self._since.get(tp, now) for tp in held}
        reported = {tp for tp, since in self._since.items() if now - since >= REPORTED_AFTER}
        for tp in reported - self._reported:
            log.warning(
                "an open transaction holds a partition back",
                extra={"topic": tp.topic, "partition": tp.partition},
            )
        for tp in self._reported - reported:
            log.info("a partition goes on", extra={"topic": tp.topic, "partition": tp.partition})
        for topic in {tp.topic for tp in reported | self._reported}:
            HELD_PARTITIONS.labels(topic).set(sum(tp.topic == topic for tp in reported))
        self._reported = reported


HELD: Final = HeldPartitions()
"""The held partitions of this process."""


def _held(consumer: Any) -> Iterable[TopicPartition]:
    """The partitions of a consumer with an open transaction at their end, as of its last fetches."""
    subscription = consumer._subscription.subscription
    assignment = None if subscription is None else subscription.assignment  # another thread may change it
    if assignment is None:
        return
    for tp in tuple(assignment.tps):
        state = assignment.state_value(tp)
        if state.highwater is not None and state.lso is not None and state.lso < state.highwater:
            yield tp
