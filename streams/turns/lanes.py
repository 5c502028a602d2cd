"""The lanes of an agent that are held: partitions whose last commit waits for a leader.

New events of a held partition are kept in their order. When its commit is done, they are part of the next
turn. Their number is bounded, because a held partition is not fetched any more: they are what one poll has
brought and what the agent's queue contained by then.

A rebalance or a stop waits for turns to end, but not for held lanes. These are given up, with the same effect
as a crash. Their input is not committed, so the next owner of the partition decides it again with the same
result, and consumers drop the repeated outputs by their ids. If one of their changelog records is still
written, it is under a claim that has been replaced, or it precedes the next claim. A lane that was given up
no longer stores or publishes anything.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence, Set
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, Final, Protocol

from faust.types import TP
from prometheus_client import Gauge

log = logging.getLogger("clusterflow.turn")

HELD_LANES: Final = Gauge(
    "clusterflow_agent_held_partitions", "Partitions whose last commit waits for a leader", ["agent"]
)

GRACE: Final = 0.5
"""Seconds that all lanes wait for all acknowledgements of a wave. It is longer than a slow broker takes
(200 ms, or a garbage collection), which would cost a task for each lane, and shorter than a fail-over, which
takes 2 to 6 s."""

GRACE_IN_TROUBLE: Final = 0.05
"""The same while some lanes are held. Other lanes that write to the silent partition will be held soon too,
and each would delay all others by a whole grace period. Holding a lane in error only costs a task."""


class HeldLane(Protocol):
    """A lane that is held (`streams.turns.commit.Lane`)."""

    partition: int
    events: list[Any]


class HeldLanes:
    """The held lanes of one agent.

    Args:
        topics: The agent's inputs.

    Attributes:
        grace: Seconds for the acknowledgements of a wave, after which lanes without theirs are held.
        wake: Makes the agent take events that were released.
    """

    def __init__(self, app: Any, agent: str, topics: Collection[str]) -> None:
        self._app = app
        self._agent = agent
        self._topics = topics
        self._held: dict[int, tuple[HeldLane, asyncio.Task[None]]] = {}
        self._since: dict[int, float] = {}  # monotonic
        self._kept: dict[int, list[Any]] = {}
        self._released: list[Any] = []
        self.grace = GRACE
        self.wake: Callable[[], None] = lambda: None
        HELD_LANES.labels(agent).set_function(lambda: len(self._held))

    @property
    def partitions(self) -> Collection[int]:
        """The partitions that are held now."""
        return sorted(self._held)

    def hold(self, lane: HeldLane, see_through: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Let a lane continue by itself; `see_through` with its arguments does the rest of its work."""
        partition = lane.partition
        if self._app.consumer.emptying:
            self._app.consumer.forget([event.message for event in lane.events])
            return
        log.warning("a partition is held", extra={"agent": self._agent, "partition": partition})
        task = asyncio.create_task(self._until_done(partition, see_through, *args))
        self._held[partition] = lane, task
        self._since[partition] = monotonic()
        self.grace = GRACE_IN_TROUBLE
        self._kept[partition] = []
        self._app.consumer.hold(self._inputs(partition))

    async def _until_done(
        self, partition: int, see_through: Callable[..., Awaitable[None]], *args: Any
    ) -> None:
        async with ending_worker(self._app, self._agent):
            await see_through(*args)
            seconds = monotonic() - self._since.pop(partition)
            log.info(
                "a held partition goes on",
                extra={"agent": self._agent, "partition": partition, "seconds": round(seconds, 1)},
            )
            del self._held[partition]
            self.grace = GRACE_IN_TROUBLE if self._held else GRACE
            self._released += self._kept.pop(partition)
            self._app.consumer.release(self._inputs(partition))
            self.wake()

    def admit(self, events: Sequence[Any]) -> Sequence[Any]:
        """The events to take now: released ones, then new ones of partitions that are not held."""
        if not self._held and not self._released:
            return events
        admitted, self._released = self._released, []
        for event in events:
            if event is None:  # see `streams.turns.batch.wake`
                continue
            self._kept.get(event.value.partition, admitted).append(event)
        return admitted

    def give_up(self) -> None:
        """Stop everything that is held, and forget the kept events."""
        for lane, task in self._held.values():
            task.cancel()
            self._app.consumer.forget([event.message for event in lane.events])
        if self._held:
            given_up = {"agent": self._agent, "partitions": self.partitions}
            log.warning("held partitions are given up before a rebalance or a stop", extra=given_up)
        self._held.clear()
        self.grace = GRACE
        self._since.clear()
        self._kept.clear()
        self._released.clear()

    def stalled(self, assigned: Set[TP], *, after: float) -> bool:
        """Whether all assigned partitions have been held for `after` seconds."""
        ours = {tp.partition for tp in assigned if tp.topic in self._topics}
        if not ours or not ours <= self._held.keys():
            return False
        return monotonic() - max(self._since.values()) > after

    def _inputs(self, partition: int) -> set[TP]:
        return {TP(topic, partition) for topic in self._topics}


@asynccontextmanager
async def ending_worker(app: Any, agent: str) -> AsyncIterator[None]:
    """End the worker after an exception, because its memory can no longer be trusted, unlike the topics."""
    try:
        yield
    except Exception as error:
        log.critical("agent failed, the worker ends", extra={"agent": agent}, exc_info=True)
        await app.crash(error)
