"""The consumer thread of a worker: the aiokafka consumer that polls, seeks and commits its inputs.

Faust runs this consumer in a thread with a loop of its own, so that heartbeats and fetches go on while agents
work. `BatchConsumer` (`streams/turns/transport.py`) lives in the loop of the agents and calls the methods
here, each of which does its work in the thread. They know partitions and offsets; batches, backlog and flow
are the consumer's.

The metadata of each committed offset is the life of its topic (`domain.offsets`), so that a topic that was
created again is recognised when a worker resumes. Pinned to faust-streaming 0.15.3.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.threads import QueueServiceThread

from domain.offsets import Resumption, life_of, resume
from streams.kafka.brokers import Brokers
from streams.reading.fetches import fetch_in_sessions, stop_consumer
from streams.settings import MAX_FETCH_BYTES, READ_COMMITTED

log = logging.getLogger("clusterflow.batches")

# A fetch that waits at the broker delays partitions that are resumed meanwhile. Faust's 1.5 s would be added
# twice to every rebalance.
FETCH_MAX_WAIT_MS = 200


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread, with shorter waits and smaller answers for its fetches."""

    brokers: Brokers | None = None

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        consumer._fetch_max_bytes = MAX_FETCH_BYTES
        consumer._isolation_level = READ_COMMITTED
        self.brokers = Brokers.of(consumer)
        return consumer

    async def on_start(self) -> None:
        """Connect; heartbeats prolong the worker's lease."""
        await super().on_start()
        fetch_in_sessions(self._consumer)
        self.app.lease.renew_by(self._consumer._coordinator)
        self._commit_lives()

    async def on_thread_stop(self) -> None:
        """Leave the group, in the middle of a rebalance too, which Faust's own stop lets end the thread."""
        await QueueServiceThread.on_thread_stop(self)
        if self._consumer is not None:
            await stop_consumer(self._consumer)

    # --- committed offsets ------------------------------------------------------------------------

    def _commit_lives(self) -> None:
        """Commit with each offset the life of the topic that it belongs to."""
        consumer, commit = self._consumer, self._consumer.commit

        async def commit_lives(offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
            logs = self.app.logs
            lives = {place: life_of(logs.get(place, "")) for place in offsets}
            await commit({tp: OffsetAndMetadata(at.offset, lives[tp]) for tp, at in offsets.items()})
            self.app.committed.update({(tp.topic, tp.partition): at.offset for tp, at in offsets.items()})

        consumer.commit = commit_lives

    async def resume_inputs(
        self, inputs: Sequence[TP], wanted: Callable[[], bool]
    ) -> Mapping[TP, Resumption]:
        """Seek to the committed offsets of these partitions, or to the beginning where there is none.

        Args:
            wanted: Whether they are still ours; nothing happens if they are not once the offsets are known.
        """
        resumed: Mapping[TP, Resumption] = await self.call_thread(self._resume_inputs, inputs, wanted)
        return resumed

    async def _resume_inputs(
        self, inputs: Sequence[TP], wanted: Callable[[], bool]
    ) -> Mapping[TP, Resumption]:
        consumer = self._ensure_consumer()
        places = [TopicPartition(*tp) for tp in inputs]
        resumed = await self._resumed(places)
        if not wanted():
            return {}
        self.app.logs = {TP(*place): at.log_of(place.topic) for place, at in resumed.items()}
        self.app.committed = {TP(*place): at.offset for place, at in resumed.items()}
        unusual = {place: at for place, at in resumed.items() if at.anomaly}
        for place, at in unusual.items():
            where = {"topic": place.topic, "partition": place.partition, "offset": at.offset}
            log.error("input is not read on where it was left", extra={**where, "why": at.anomaly})
        if unusual:  # at once, or a crash before the next commit would find the old position again
            await consumer.commit({place: OffsetAndMetadata(at.offset, "") for place, at in unusual.items()})
        for place, at in resumed.items():
            consumer.seek(place, at.offset)
        return {TP(*place): at for place, at in resumed.items()}

    async def _resumed(self, places: Sequence[TopicPartition]) -> Mapping[TopicPartition, Resumption]:
        consumer = self._ensure_consumer()
        if not places:
            return {}
        beginnings = await consumer.beginning_offsets(places)
        committed = await consumer._coordinator.fetch_committed_offsets(places)
        ends = await consumer.end_offsets(places)
        known = {place: at for place, at in committed.items() if at.offset >= 0}  # -1: none committed
        return {
            place: resume(
                self.app.topic_ids.get(place.topic, ""),
                committed=known[place].offset if place in known else None,
                life=known[place].metadata if place in known else "",
                beginning=beginnings[place],
                end=ends[place],
            )
            for place in places
        }

    # --- fetch positions --------------------------------------------------------------------------

    async def fetch_positions(self, inputs: Sequence[TP]) -> Mapping[TP, int]:
        """The fetcher's positions in these partitions, as far as they are known."""
        positions: Mapping[TP, int] = await self.call_thread(self._fetch_positions, inputs)
        return positions

    async def _fetch_positions(self, inputs: Sequence[TP]) -> Mapping[TP, int]:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        places = {tp: TopicPartition(*tp) for tp in inputs}
        states = {
            tp: consumer._subscription._assigned_state(place)
            for tp, place in places.items()
            if place in assigned
        }
        return {tp: state._position for tp, state in states.items() if state._position is not None}

    async def fetch_from(self, tp: TP, offset: int) -> None:
        """Set the fetcher's position in a partition."""

        async def seek() -> None:
            self._ensure_consumer().seek(TopicPartition(*tp), offset)

        await self.call_thread(seek)

    async def fetch_again(self, tp: TP, polled: Sequence[ConsumerRecord]) -> None:
        """Move the fetcher back to the first of these records if it is behind the last of them."""

        async def seek_back() -> None:
            inner, place = self._ensure_consumer(), TopicPartition(*tp)
            if place not in inner.assignment():
                return
            position = inner._subscription._assigned_state(place)._position
            if position is not None and position > polled[-1].offset:
                inner.seek(place, polled[0].offset)

        await self.call_thread(seek_back)

    # --- pausing ----------------------------------------------------------------------------------

    def pause_fetching(self, tps: set[TP]) -> None:
        """Have no records of these partitions fetched; takes effect soon after the call."""
        self._soon("pause", tps)

    def resume_fetching(self, tps: set[TP]) -> None:
        """Have records of these partitions fetched again; takes effect soon after the call."""
        self._soon("resume", tps)

    def _soon(self, verb: str, tps: set[TP]) -> None:
        inner = self._consumer
        if inner is None or not tps:
            return

        def act() -> None:
            # The assignment may have changed since the call, so only partitions still assigned count.
            assigned = set(inner.assignment()) & {TopicPartition(*tp) for tp in tps}
            if assigned:
                getattr(inner, verb)(*assigned)

        self.thread_loop.call_soon_threadsafe(act)
