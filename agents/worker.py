"""The role `worker`: all agents and their tables in one Faust app."""

import asyncio
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import Final

from agents import clusters, names
from agents.ticker import Ticker
from domain.errors import Unavailable
from domain.policy import Policy
from streams.kafka.admin import answers, check_topics
from streams.kafka.held import HELD
from streams.kafka.rights import require_rights
from streams.kafka.roles import WORKER
from streams.kafka.topic_ids import TopicReplaced, topic_ids, watch_topics
from streams.kafka.unavailable import UNAVAILABLE_PARTITIONS, Partition, Unacknowledged
from streams.messages import SOURCE
from streams.settings import KafkaSettings
from streams.turns.app import BatchApp, create_app
from streams.writing.producer import Producer
from tables.declared import cluster_table, name_table
from tables.metrics import RECOVERING

# Seconds for turns under way to end; what then is not committed is taken up by another worker.
STOP_WITHIN: Final = 30.0

# Seconds to leave the group in, when a rebalance is under way.
LEAVE_WITHIN: Final = 5.0

# Looks for Kafka in vain, a second or two apart, after which a worker that is to stop does not wait for it.
MAX_MISSED_PROBES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What a worker is told.

    Attributes:
        service_name: Which service its events say that they are from.
        tick_interval: Time between two ticks of a partition.
        standby_replicas: Workers that follow each partition's changelog to take over warm.
    """

    kafka: KafkaSettings
    policy: Policy = field(default_factory=Policy)
    service_name: str = SOURCE
    tick_interval: timedelta = timedelta(seconds=30)
    standby_replicas: int = 0


class WorkerCrashed(RuntimeError):
    """Faust gave up; the process must end, so that its supervisor starts a fresh one."""


async def run(
    settings: WorkerSettings, *, stop: asyncio.Event, ready: Callable[[Callable[[], bool]], None]
) -> None:
    """Run until told to stop.

    Args:
        ready: Told how to ask whether the tables are recovered and the agents at work.

    Raises:
        TopicMismatch: the topics are not there as configured.
        NotPermitted: Kafka does not grant what a worker needs.
        TopicReplaced: one of them was deleted and created again meanwhile.
        WorkerCrashed: a part of the app died; its partitions are safe with whoever comes next.
        Unavailable: told to stop while Kafka is away.
    """
    kafka = settings.kafka
    await require_rights(kafka, WORKER)
    await check_topics(kafka, WORKER)
    app = create_app(kafka, standby_replicas=settings.standby_replicas)
    producer = app.publisher
    await producer.start()
    names.attach(app, kafka=kafka, names=name_table(app, kafka), producer=producer, policy=settings.policy)
    clock = clusters.attach(
        app,
        kafka=kafka,
        clusters=cluster_table(app, kafka),
        producer=producer,
        policy=settings.policy,
        source=settings.service_name,
    )
    app.topic_ids = ids = await topic_ids(kafka, kafka.topics.worked_on)
    app.finalize()
    ready(lambda: app.at_work and not HELD.names)
    RECOVERING.set_function(lambda: float(app.recovering))
    await app.start()
    ticker = Ticker(app, producer, clock, topic=kafka.topics.ticks)
    ticking = [
        asyncio.create_task(ticker.tick(settings.tick_interval)),
        asyncio.create_task(ticker.run()),
        asyncio.create_task(HELD.watch(app.kafka_consumers)),
        asyncio.create_task(UNAVAILABLE_PARTITIONS.watch(_unavailable(app))),
        asyncio.create_task(watch_topics(kafka, ids)),
    ]
    crashed = asyncio.create_task(app._crashed.wait())
    stopped = asyncio.create_task(stop.wait())
    tasks = (*ticking, crashed, stopped)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in ticking:
            if task.done():
                task.result()
        if crashed.done():  # what is left of the app can't be stopped in order, only left
            raise WorkerCrashed(repr(app.crash_reason)) from app.crash_reason
    except TopicReplaced:
        await _stop(app, producer, kafka)
        raise
    finally:
        for task in tasks:
            task.cancel()
    await _stop(app, producer, kafka)


def _unavailable(app: BatchApp) -> Callable[[], Set[Partition]]:
    """How to look at what it reads and writes."""
    unacknowledged = Unacknowledged(app.publisher.waiting)
    return lambda: unacknowledged.look() | app.unreachable()


async def _stop(app: BatchApp, producer: Producer, kafka: KafkaSettings) -> None:
    """Let turns under way end. While Kafka is away they can't, and in a rebalance there are none.

    Raises: Unavailable: there is nothing to wait for. WorkerCrashed: not in time. The process must end.
    """
    between_turns = not app.at_work

    async def stop() -> None:
        await app.stop()
        await producer.stop()

    stopping = asyncio.create_task(stop())
    missed = 0
    deadline = monotonic() + (LEAVE_WITHIN if between_turns else STOP_WITHIN)
    while not (await asyncio.wait({stopping}, timeout=1.0))[0]:
        missed = 0 if await answers(kafka, within=1.0) else missed + 1
        if missed == MAX_MISSED_PROBES:
            raise Unavailable("Kafka is away; what is not committed is decided again by whoever comes next")
        if monotonic() > deadline and between_turns:
            raise Unavailable("a rebalance is under way; its partitions go to others after the session")
        if monotonic() > deadline:
            raise WorkerCrashed("not stopped in time; what is not committed is decided again")
    stopping.result()
