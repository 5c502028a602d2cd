"""Partitions whose leader does not answer, told apart from a Kafka that is away.

A broker that falls silent takes the partitions that it leads along, until others have been made their
leaders. All other partitions work meanwhile, so a process that waits for one must not wait with all of them.
A writer knows an unavailable partition by acknowledgements that do not come (`Unacknowledged`), a follower by
its leader (`Tail.unreachable`). What the parts of a process know is told in one place, by
`UNAVAILABLE_PARTITIONS`: to the log, to the metrics and to `/ready`.
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

A broker that is merely slow must not count: with 200 ms on the way, a record that waits for the request
before its own is acknowledged after half a second. A longer time would keep writers waiting for nothing:
those of web give up after 3 s (`web.submit.ACKNOWLEDGED_WITHIN`), and can then be told why.
"""

LOOK_EVERY: Final = 0.25
"""Seconds between two looks: a look walks over the batches that wait, which is too much for each record."""

_PAUSE_SECONDS: Final = 1.0
"""Seconds between two looks that only a process that was paused needs."""

Partition = tuple[str, int]
"""A topic, and the number of one of its partitions."""


class Unacknowledged:
    """The partitions that a producer has waited for too long for, to be looked at every `LOOK_EVERY`.

    Args:
        waiting: How many seconds each partition's oldest record has waited, as `Producer.waiting` has it.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, waiting: Callable[[], Mapping[Partition, float]], *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._waiting = waiting
        self._clock = clock
        self._looked_at = self._awake_since = clock()

    def look(self) -> frozenset[Partition]:
        """Those of now.

        A pause of this process does not count, for it has not read the acknowledgements that came meanwhile.
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
        self._seen: dict[object, frozenset[Partition]] = {}  # by who watches, at the last look
        self._reported: frozenset[Partition] = frozenset()

    @property
    def names(self) -> list[str]:
        """They, as `topic/partition`."""
        return named(self._reported)

    async def watch(self, look: Callable[[], Iterable[Partition]]) -> None:
        """Look until cancelled.

        Args:
            look: What one part of the process sees; it is asked every `LOOK_EVERY`.
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
"""Of this process, as its metrics are."""


def named(partitions: Iterable[Partition]) -> list[str]:
    """Partitions in their order, as `topic/partition`."""
    return [f"{topic}/{number}" for topic, number in sorted(partitions)]
