"""Partitions whose leader does not answer, as distinct from a Kafka that is away.

While a broker is silent, the partitions that it leads are unavailable until they get other leaders. All other
partitions work meanwhile, so a process that waits for one partition must not wait with all of them. A writer
recognises an unavailable partition by missing acknowledgements (`Unacknowledged`), a follower by the leader
(`Tail.unreachable`). `UNAVAILABLE_PARTITIONS` combines what the parts of a process see, for the log, the
metrics and `/ready`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Final

from prometheus_client import Gauge

log = logging.getLogger("clusterflow.partitions")

PER_TOPIC: Final = Gauge(
    "clusterflow_partitions_unavailable",
    "Partitions that this process uses and that have no leader that answers or takes writes",
    ["topic"],
)

UNACKNOWLEDGED_AFTER: Final = 2.0
"""Seconds that a record waits to be acknowledged before its partition counts as unavailable.

A slow broker must not count: with a latency of 200 ms, a record that waits for the request before its own is
acknowledged after half a second. A longer time would be useless, because writes of web give up after 3 s
(`serving.submit.ACKNOWLEDGED_WITHIN`), and by then their answer can name the reason.
"""

LOOK_EVERY: Final = 0.25
"""Seconds between two checks. A check walks over all waiting batches, too much to do for each record."""

_PAUSE_SECONDS: Final = 1.0
"""Seconds between two checks from which a pause of this process is concluded."""

Partition = tuple[str, int]
"""A topic, and the number of one of its partitions."""


class Unacknowledged:
    """The partitions for which a producer has waited too long; check it every `LOOK_EVERY`.

    Args:
        waiting: Returns the seconds that each partition's oldest record has waited (`Producer.waiting`).
        clock: Seconds, monotonic.
    """

    def __init__(
        self, waiting: Callable[[], Mapping[Partition, float]], *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._waiting = waiting
        self._clock = clock
        self._looked_at = self._awake_since = clock()

    def look(self) -> frozenset[Partition]:
        """The unavailable partitions now.

        A pause of this process does not count, because acknowledgements that came meanwhile are not read yet.
        """
        now = self._clock()
        if now - self._looked_at >= _PAUSE_SECONDS:
            self._awake_since = now
        self._looked_at = now
        if now - self._awake_since < UNACKNOWLEDGED_AFTER:
            return frozenset()
        return frozenset(at for at, waited in self._waiting().items() if waited >= UNACKNOWLEDGED_AFTER)


class UnavailablePartitions:
    """The partitions that are unavailable now, as all parts of this process see them."""

    def __init__(self) -> None:
        self._seen: dict[object, frozenset[Partition]] = {}  # by watcher, at its last look
        self._reported: frozenset[Partition] = frozenset()

    @property
    def names(self) -> list[str]:
        """The partitions as `topic/partition`."""
        return named(self._reported)

    async def watch(self, look: Callable[[], Iterable[Partition]]) -> None:
        """Watch until cancelled.

        Args:
            look: Returns the partitions that one part of the process sees; called every `LOOK_EVERY`.
        """
        who = object()
        try:
            while True:
                self._seen[who] = frozenset(look())
                self._note()
                await asyncio.sleep(LOOK_EVERY)
        finally:
            self._seen.pop(who, None)
            self._note()

    def _note(self) -> None:
        now = frozenset[Partition]().union(*self._seen.values())
        if now == self._reported:
            return
        before, self._reported = self._reported, now
        if lost := now - before:
            log.warning("partitions have no leader that answers", extra={"partitions": named(lost)})
        if back := before - now:
            log.info("partitions have a leader again", extra={"partitions": named(back)})
        counts = Counter(topic for topic, _ in now)
        for topic in {topic for topic, _ in now | before}:
            PER_TOPIC.labels(topic).set(counts[topic])


UNAVAILABLE_PARTITIONS: Final = UnavailablePartitions()
"""The unavailable partitions of this process."""


def named(partitions: Iterable[Partition]) -> list[str]:
    """Sorted partitions as `topic/partition`."""
    return [f"{topic}/{number}" for topic, number in sorted(partitions)]
