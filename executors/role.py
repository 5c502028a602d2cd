"""The role `executor`: reads the queues of kinds of work, and does what is in them."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from domain.work import Limits
from executors import handlers
from executors.commander import AnyFlow, Commander
from executors.executor import Doer, Executor
from executors.handlers import Handlers
from executors.jobs import Jobs
from executors.reader import Reader, reading
from executors.settings import ExecutorSettings
from executors.synthetic import make_up
from executors.views import Views, topics_of_views
from streams.flows import simple_flows
from streams.job import job_queue
from streams.kafka.admin import check_topics
from streams.kafka.held import HELD
from streams.kafka.patience import once_it_answers
from streams.kafka.rights import require_rights
from streams.kafka.roles import EXECUTOR
from streams.kafka.topic_ids import topic_ids, watch_topics
from streams.kafka.unavailable import UNAVAILABLE_PARTITIONS
from streams.reading.tail import Tail
from streams.settings import EXECUTOR_GROUP, JOB_EXECUTOR_GROUP
from streams.task import task_queue
from streams.work import Queue
from streams.writing.producer import Producer

log = logging.getLogger("clusterflow.executor")


async def run(
    settings: ExecutorSettings, *, stop: asyncio.Event, ready: Callable[[Callable[[], bool]], None]
) -> None:
    """Do work until asked to stop; what is being done then may end.

    A Kafka that is away at the start is waited for.

    Args:
        ready: Called with a function that returns whether records are being read.

    Raises:
        TopicMismatch: topics are missing or differ from the configuration.
        NotPermitted: Kafka does not grant what an executor needs.
        TopicReplaced: a topic that it reads was deleted and created again.
        KafkaError: Kafka is away for good.
    """
    kafka = settings.kafka
    flows = {each.kind.name: each.deployed(kafka.topics.of) for each in simple_flows(settings.policy)}
    worked_on = [flows[kind].queue for kind in settings.kinds]
    if "job" in settings.kinds:
        worked_on += topics_of_views(kafka)

    async def ask() -> Mapping[str, str]:
        await require_rights(kafka, EXECUTOR)
        await check_topics(kafka, EXECUTOR)
        return await topic_ids(kafka, worked_on)

    if (ids := await once_it_answers(ask, stop=stop, log=log)) is not None:
        async with AsyncExitStack() as stack:
            await _Process(settings, flows, stack).run(ids, stop=stop, ready=ready)


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind whose work this process does."""

    executor: Executor
    reader: Reader


class _Process:
    """An executor as a process: what it does of each kind, and what keeps that up.

    Args:
        stack: Ends what is begun here.
    """

    def __init__(
        self, settings: ExecutorSettings, flows: Mapping[str, AnyFlow], stack: AsyncExitStack
    ) -> None:
        self._settings = settings
        self._flows = flows
        self._stack = stack
        self._producer = Producer(settings.kafka, client_id="clusterflow-executor")
        self._commander = Commander(self._producer)
        self._also = list[Coroutine[Any, Any, None]]()
        (results,) = {flow.results for flow in flows.values() if flow.results}
        self._tails = [
            Tail(
                settings.kafka,
                client_id="clusterflow-executor-results",
                from_end={results: self._commander.on_result},
            )
        ]

    async def run(
        self, ids: Mapping[str, str], *, stop: asyncio.Event, ready: Callable[[Callable[[], bool]], None]
    ) -> None:
        """Do work until asked to stop."""
        self._stack.push_async_callback(self._producer.stop)
        await self._producer.start()
        makers = {"task": self._tasks, "job": self._jobs}
        made = [makers[kind]() for kind in self._settings.kinds]
        for tail in self._tails:
            await tail.start()
            self._stack.push_async_callback(tail.stop)
        kinds = [_Kind(executor, await self._reading(executor, group)) for executor, group in made]
        readers = [kind.reader for kind in kinds]
        ready(lambda: all(each.consumer.assignment() for each in readers) and not HELD.names)
        async with asyncio.TaskGroup() as group:
            reads = [group.create_task(each.run(self._producer, stop)) for each in readers]
            others = [group.create_task(each) for each in self._others(kinds, ids)]
            await asyncio.wait(reads)
            within = self._settings.stop_within
            await asyncio.gather(*(kind.executor.stop(within) for kind in kinds))
            for reader in readers:
                await reader.commit()
            for other in others:
                other.cancel()

    def _others(self, kinds: Sequence[_Kind], ids: Mapping[str, str]) -> Sequence[Coroutine[Any, Any, Any]]:
        consumers = [kind.reader.consumer for kind in kinds] + [tail.consumer for tail in self._tails]

        def unreachable() -> set[tuple[str, int]]:
            return {place for kind in kinds for place in kind.reader.unreachable()}

        return (
            *(tail.run() for tail in self._tails),
            *(kind.executor.beat() for kind in kinds),
            *self._also,
            HELD.watch(lambda: consumers),
            UNAVAILABLE_PARTITIONS.watch(unreachable),
            watch_topics(self._settings.kafka, ids),
        )

    async def _reading(self, executor: Executor, group: str) -> Reader:
        return await self._stack.enter_async_context(
            reading(self._settings.kafka, executor, group=group, held=self._settings.held)
        )

    # --- kinds --------------------------------------------------------------------------------------

    def _tasks(self) -> tuple[Executor, str]:
        settings = self._settings
        queue = task_queue(self._flows["task"])
        otherwise = handlers.default(settings.simulated_work.total_seconds())
        doers = Handlers(settings.handlers, otherwise, queue.action_of, most=settings.most)
        self._stack.callback(doers.stop)
        log.info("handlers", extra={"actions": sorted(settings.handlers)})
        limits = settings.policy.task_limits
        return self._executor(queue, doers.do, limits, most=settings.most), EXECUTOR_GROUP

    def _jobs(self) -> tuple[Executor, str]:
        views = Views(self._settings.kafka)
        self._tails.append(views.tail)
        if self._settings.synthetic:
            self._also.append(make_up(views, self._flows["samples"], self._producer))
        jobs = Jobs(self._commander, self._flows, views)
        queue = job_queue(self._flows["job"])
        limits, most = self._settings.policy.job_limits, self._settings.most_jobs
        # The number of jobs at work is what operators have set, so none is claimed before there is a place.
        return self._executor(queue, jobs.do, limits, most=most, ahead=False), JOB_EXECUTOR_GROUP

    def _executor(self, queue: Queue, do: Doer, limits: Limits, *, most: int, ahead: bool = True) -> Executor:
        name = f"{socket.gethostname()}-{os.getpid()}"
        return Executor(queue, self._commander, do, limits=limits, most=most, name=name, ahead=ahead)
