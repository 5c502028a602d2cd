"""Reads the queue of one kind of work, within bounds, and commits what is settled."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from domain.errors import MalformedRecord
from executors.executor import Executor
from streams.kafka.brokers import Brokers
from streams.reading.fetches import fetch_in_sessions, stop_consumer
from streams.settings import KafkaSettings
from streams.writing.dead_letters import parked
from streams.writing.producer import Producer

log = logging.getLogger("clusterflow.executor")

POLL_MS: Final = 500
"""Milliseconds of one poll, after which a request to stop is noticed."""

COMMIT_EVERY: Final = 1.0
"""Seconds between two commits of positions. What is read twice after a crash is not claimed twice."""


class Reader(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Reads a queue within bounds, and commits what is settled."""

    def __init__(self, consumer: AIOKafkaConsumer, executor: Executor, held: int) -> None:
        self.consumer = consumer
        self._brokers = Brokers.of(consumer)
        self._executor = executor
        self._held = held

    def unreachable(self) -> set[tuple[str, int]]:
        """The partitions whose leader does not answer."""
        return set(self._brokers.unreachable(self.consumer.assignment()))

    async def run(self, producer: Producer, stop: asyncio.Event) -> None:
        """Read until asked to stop."""
        due = 0.0
        clock = asyncio.get_running_loop().time
        while not stop.is_set():
            if (room := self._held - self._executor.positions.open) > 0:
                polled = await self.consumer.getmany(timeout_ms=POLL_MS, max_records=room)
                await self._take(producer, polled)
            else:
                await asyncio.sleep(POLL_MS / 1000)
            if clock() >= due:
                due = clock() + COMMIT_EVERY
                await self.commit()

    async def _take(self, producer: Producer, polled: Mapping[TopicPartition, list[ConsumerRecord]]) -> None:
        bad: list[tuple[ConsumerRecord, MalformedRecord]] = []
        for records in polled.values():
            for record in records:
                if (error := self._executor.take(record)) is not None:
                    bad.append((record, error))
        if bad:
            await producer.publish([parked(record, error) for record, error in bad])
            for record, _ in bad:
                self._executor.positions.settle(record)

    async def commit(self) -> None:
        """Commit what is settled; what a commit that fails leaves out is read again, and not done again."""
        if not (positions := self._executor.positions.to_commit()):
            return
        try:
            await self.consumer.commit(dict(positions))
        except KafkaError as error:
            log.info("positions not committed", extra={"error": repr(error)})
        else:
            self._executor.positions.committed(positions)

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Commit what is settled; the next owner of a partition reads the rest."""
        await self.commit()
        self._executor.positions.forget(revoked)

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Nothing to do: aiokafka begins at the committed positions."""


@asynccontextmanager
async def reading(
    kafka: KafkaSettings, executor: Executor, *, group: str, held: int
) -> AsyncIterator[Reader]:
    """A reader of the queue of an executor, connected while this lasts.

    Args:
        group: Consumer group that shares the queue among all executors, after the prefix of the topics.
        held: Records that are read and not settled, at most.
    """
    consumer = AIOKafkaConsumer(
        **kafka.member("clusterflow-executor", kafka.topics.prefix + group),
        auto_offset_reset="earliest",
    )
    reader = Reader(consumer, executor, held)
    consumer.subscribe([executor.queue], listener=reader)
    try:
        await consumer.start()
        fetch_in_sessions(consumer)
        yield reader
    finally:
        await stop_consumer(consumer)
