"""Partitions side by side, each of them in order: how records get from Kafka to a handler and are committed.

Every poll hands each partition's records to a task of its own and pauses the partition until they are done.
So one cluster's back-off of ten minutes keeps only its own partition waiting, the program goes on polling
(Kafka takes it for dead otherwise), and no two events of one cluster are ever worked on at the same time.

A record is committed once it is finished with, never before: after a crash or a rebalance it comes again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

log = logging.getLogger(__name__)

POLL: Final = 0.5  # seconds; how long a stop may go unnoticed
BATCH: Final = 100  # records of one poll; what a crash repeats at most is the one that was being worked on
AGAIN_AFTER: Final = 5.0  # seconds until a record is tried again whose report Kafka didn't take

Handle = Callable[[ConsumerRecord[bytes, bytes]], Awaitable[None]]


class Stopping(Exception):
    """The program ends before the record is done; uncommitted, it comes again."""


class Stop:
    """The wish to end, and a way to sleep that notices it."""

    def __init__(self) -> None:
        self._wished = asyncio.Event()

    def __call__(self) -> None:
        """Wish it."""
        self._wished.set()

    def wished(self) -> bool:
        """Whether to end."""
        return self._wished.is_set()

    async def sleep(self, seconds: float) -> None:
        """Let time pass. Raises: Stopping."""
        try:
            async with asyncio.timeout(seconds):
                await self._wished.wait()
        except TimeoutError:
            return
        raise Stopping


class Consumption(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """The consuming side of one controller."""

    def __init__(
        self, consumer: AIOKafkaConsumer, handle: Handle, stop: Stop, *, again_after: float = AGAIN_AFTER
    ) -> None:
        self._consumer = consumer
        self._handle = handle
        self._stop = stop
        self._again_after = again_after
        self._tasks: dict[TopicPartition, asyncio.Task[None]] = {}

    async def run(self, topic: str, *, grace: float) -> None:
        """Consume until a stop is wished for, then give the work under way `grace` seconds.

        An error nobody foresaw ends the program rather than leave a partition standing still.
        """
        self._consumer.subscribe([topic], listener=self)
        async with asyncio.TaskGroup() as group:
            while not self._stop.wished():
                polled = await self._consumer.getmany(timeout_ms=int(POLL * 1000), max_records=BATCH)
                for partition, records in polled.items():
                    self._consumer.pause(partition)
                    self._tasks[partition] = group.create_task(self._work_through(partition, records))
            await self._finish(self._tasks, within=grace)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Drop the work on partitions that others take over: they begin with the first uncommitted record."""
        await self._finish(revoked, within=0)

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Nothing to prepare."""

    async def _finish(self, partitions: Collection[TopicPartition], *, within: float) -> None:
        tasks = [task for partition in partitions if (task := self._tasks.get(partition))]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=within)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)  # of their exceptions, the task group hears

    async def _work_through(self, partition: TopicPartition, records: Sequence[Any]) -> None:
        try:
            for record in records:
                if self._stop.wished():
                    return
                await self._until_acknowledged(record)
                await self._commit(partition, record.offset + 1)
        except Stopping:
            return
        except (CommitFailedError, IllegalStateError) as error:
            log.info("lost partition %d to another instance: %s", partition.partition, error)
            return
        self._consumer.resume(partition)

    async def _until_acknowledged(self, record: ConsumerRecord[bytes, bytes]) -> None:
        while True:
            try:
                return await self._handle(record)
            except KafkaError as error:
                log.warning("Kafka took no report, next try in %.0f s: %s", self._again_after, error)
                await self._stop.sleep(self._again_after)

    async def _commit(self, partition: TopicPartition, offset: int) -> None:
        try:
            await self._consumer.commit({partition: offset})
        except (CommitFailedError, IllegalStateError):
            raise
        except KafkaError as error:  # covered by the next commit; if there is none, the record comes again
            log.warning("offset %d of partition %d is not committed: %s", offset, partition.partition, error)
