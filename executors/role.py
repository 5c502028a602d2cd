"""The role `executor`: reads the queues of all kinds of work, and does what is in them."""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from domain.errors import MalformedRecord
from executors import handlers
from executors.commander import Commander
from executors.executor import Executor
from executors.settings import ExecutorSettings
from streams.flow import Flow
from streams.flows import simple_flows
from streams.kafka.admin import check_topics
from streams.kafka.brokers import Brokers
from streams.kafka.held import HELD
from streams.kafka.patience import once_it_answers
from streams.kafka.rights import require_rights
from streams.kafka.roles import EXECUTOR
from streams.kafka.timeouts import group_request_within
from streams.kafka.topic_ids import topic_ids, watch_topics
from streams.kafka.unavailable import UNAVAILABLE_PARTITIONS
from streams.reading.fetches import fetch_in_sessions, stop_consumer
from streams.reading.tail import Tail
from streams.settings import READ_COMMITTED
from streams.task import task_queue
from streams.writing.dead_letters import parked
from streams.writing.producer import Producer

log = logging.getLogger("clusterflow.executor")

POLL_MS: Final = 500
"""Milliseconds of one poll, after which a request to stop is noticed."""

COMMIT_EVERY: Final = 1.0
"""Seconds between two commits of positions. What is read twice after a crash is not claimed twice."""


async def run(
    settings: ExecutorSettings, *, stop: asyncio.Event, ready: Callable[[Callable[[], bool]], None]
) -> None:
    """Do work until asked to stop; handlers that run then may end.

    A Kafka that is away at the start is waited for.

    Args:
        ready: Called with a function that returns whether records are being read.

    Raises:
        TopicMismatch: topics are missing or differ from the configuration.
        NotPermitted: Kafka does not grant what an executor needs.
        TopicReplaced: one of the queues was deleted and created again.
        KafkaError: Kafka is away for good.
    """
    kafka = settings.kafka
    (flow,) = (each.deployed(kafka.topics.of) for each in simple_flows(settings.policy) if each.queue)

    async def ask() -> Mapping[str, str]:
        await require_rights(kafka, EXECUTOR)
        await check_topics(kafka, EXECUTOR)
        return await topic_ids(kafka, (flow.queue,))

    if (ids := await once_it_answers(ask, stop=stop, log=log)) is not None:
        await _run(settings, flow, ids, stop=stop, ready=ready)


async def _run(
    settings: ExecutorSettings,
    flow: Flow[Any, Any, Any],
    ids: Mapping[str, str],
    *,
    stop: asyncio.Event,
    ready: Callable[[Callable[[], bool]], None],
) -> None:
    kafka = settings.kafka
    async with AsyncExitStack() as stack:
        producer = Producer(kafka, client_id="clusterflow-executor")
        stack.push_async_callback(producer.stop)
        await producer.start()
        commander = Commander(producer, flow)
        executor = Executor(
            task_queue(flow),
            commander,
            settings.handlers,
            handlers.default(settings.simulated_work.total_seconds()),
            limits=settings.policy.task_limits,
            most=settings.most,
            name=f"{socket.gethostname()}-{os.getpid()}",
        )
        tail = Tail(
            kafka, client_id="clusterflow-executor-results", from_end={flow.results: commander.on_result}
        )
        await tail.start()
        stack.push_async_callback(tail.stop)
        reader = await stack.enter_async_context(_reader(settings, flow.queue, executor))
        log.info("handlers", extra={"actions": sorted(settings.handlers)})
        ready(lambda: bool(reader.consumer.assignment()) and not HELD.names)
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(reader.run(producer, stop))
            others = [
                group.create_task(tail.run()),
                group.create_task(executor.beat()),
                group.create_task(HELD.watch(lambda: (reader.consumer, tail.consumer))),
                group.create_task(UNAVAILABLE_PARTITIONS.watch(reader.unreachable)),
                group.create_task(watch_topics(kafka, ids)),
            ]
            await asyncio.wait([reading])
            await executor.stop(settings.stop_within)
            await reader.commit()
            for other in others:
                other.cancel()


class _Reader(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
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
async def _reader(settings: ExecutorSettings, queue: str, executor: Executor) -> AsyncIterator[_Reader]:
    kafka = settings.kafka
    consumer = AIOKafkaConsumer(
        **kafka.client("clusterflow-executor"),
        group_id=settings.group_id,
        enable_auto_commit=False,
        isolation_level=READ_COMMITTED,
        auto_offset_reset="earliest",
        session_timeout_ms=int(kafka.session_timeout * 1000),
        heartbeat_interval_ms=int(kafka.session_timeout * 1000 / 6),
        request_timeout_ms=int(group_request_within(kafka.session_timeout) * 1000),
    )
    reader = _Reader(consumer, executor, settings.held)
    consumer.subscribe([queue], listener=reader)
    try:
        await consumer.start()
        fetch_in_sessions(consumer)
        yield reader
    finally:
        await stop_consumer(consumer)
