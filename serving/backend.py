"""The connections of a process with an API to the stream, and what keeps them up."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

from database.pool import Pool
from serving.monitor import HealthMonitor
from serving.outcomes import Outcomes
from serving.submit import Submitter
from streams.kafka.admin import kafka_cluster_id
from streams.kafka.held import HELD
from streams.kafka.topic_ids import topic_ids, watch_topics
from streams.kafka.unavailable import Unacknowledged
from streams.reading.fresh import Freshness
from streams.reading.tail import Tail
from streams.settings import KafkaSettings
from streams.writing.producer import Producer
from tables.feed import Feed
from tables.metrics import RECOVERING


class Backend:
    """What a process with an API follows of the stream, and its way to write.

    Args:
        name: Of this kind of process, as Kafka sees its clients.
        feeds: The change feeds that are filled; their topics are read from the beginning.
        results: The topics that results of writes come on.
        timeout: How long a write may wait. After as long without a result, callers are told that their
            writes are unconfirmed.
        database: The sink's database, which is only looked after.

    Attributes:
        freshness: Lets reads wait for what was in the log when they came.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        name: str,
        feeds: Sequence[Feed[Any]],
        results: Sequence[str],
        timeout: timedelta,
        database: Pool | None = None,
    ) -> None:
        self._kafka = kafka
        self._feeds = feeds
        self._database = database
        self._producer = Producer(kafka, client_id=name)
        self._states = Tail(
            kafka, client_id=f"{name}-states", from_beginning={each.topic: each.apply for each in feeds}
        )
        self.health = HealthMonitor(
            self._states, database, outcomes=Outcomes(timeout.total_seconds(), time.monotonic)
        )
        self.submitter = Submitter(producer=self._producer, health=self.health, timeout=timeout)
        # A tail of its own: a write waits for its result and then its state, and each finds a fetch waiting.
        self._results = Tail(
            kafka, client_id=f"{name}-results", from_end=dict.fromkeys(results, self.submitter.on_result)
        )
        self.freshness = Freshness(self._states.ends, self._states.reached)
        self._ids: Mapping[str, str] = {}
        RECOVERING.set_function(lambda: float(not self._states.caught_up.is_set()))

    async def start(self, stack: AsyncExitStack, *, topics: Sequence[str]) -> None:
        """Connect; the stack ends that.

        Args:
            topics: The topics that must stay what they are while this process runs.

        Raises: KafkaError: no broker answers.
        """
        if self._database is not None:
            self._database.watched()
            stack.push_async_callback(self._database.close)
        for part in (self._results, self._states, self._producer):
            stack.push_async_callback(part.stop)
            await part.start()
        self._ids = await topic_ids(self._kafka, topics)
        kafka_id = await kafka_cluster_id(self._kafka)
        for each in self._feeds:
            each.identify(kafka_id, self._ids.get(each.topic))

    async def follow(
        self,
        stop: asyncio.Event,
        *others: Coroutine[Any, Any, None],
        closing: Callable[[], Awaitable[None]],
    ) -> None:
        """Follow the stream until told to stop, or until a follower dies: a supervisor starts it afresh.

        Args:
            others: What else has to run meanwhile.
            closing: Lets requests under way finish, while the stream is still followed.

        Raises: TopicReplaced: a topic was deleted and created again. Any error that ends a follower.
        """
        tails = self._states, self._results
        looks = (Unacknowledged(self._producer.waiting).look, *(tail.unreachable for tail in tails))
        coroutines: Sequence[Coroutine[Any, Any, Any]] = (
            *(tail.run() for tail in tails),
            self.health.watch_kafka(),
            self.health.watch_partitions(*looks),
            HELD.watch(lambda: [tail.consumer for tail in tails]),
            watch_topics(self._kafka, self._ids),
            *others,
            stop.wait(),
        )
        tasks = [asyncio.create_task(each) for each in coroutines]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await closing()
            await _cancelled(tasks)


async def _cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel until all have ended: a library on the way may swallow a cancellation."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1.0)
