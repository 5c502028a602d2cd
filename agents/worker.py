"""The role `worker`: all agents and their tables in one Faust app."""

import asyncio
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import Any, Final, Literal

from agents import clusters
from agents.entity import KindAgent, Reaction
from agents.reactions import reactions_of
from agents.telemetry import listen
from agents.ticker import Ticker
from agents.waker import KindWaker
from domain.errors import Unavailable
from domain.policy import Policy
from domain.samples import SAMPLES
from streams.flow import Flow
from streams.flows import simple_flows
from streams.kafka.admin import answers, check_topics
from streams.kafka.held import HELD
from streams.kafka.rights import require_rights
from streams.kafka.roles import WORKER
from streams.kafka.topic_ids import TopicReplaced, topic_ids, watch_topics
from streams.kafka.unavailable import UNAVAILABLE_PARTITIONS, Partition, Unacknowledged
from streams.messages import SOURCE
from streams.settings import GROUP, SAMPLES_GROUP, KafkaSettings
from streams.turns.app import BatchApp, add_agent, create_app
from streams.writing.producer import Producer
from tables.declared import cluster_table, name_table, table_of
from tables.metrics import RECOVERING

# Seconds for running turns to end. What is not committed by then is decided again by another worker.
STOP_WITHIN: Final = 30.0

# Seconds to leave the group while a rebalance is running.
LEAVE_WITHIN: Final = 5.0

# How many failed probes, a second or two apart, before a stopping worker gives up on Kafka.
MAX_MISSED_PROBES: Final = 2


WorkerKinds = Literal["all", "core", "samples"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """The settings of a worker.

    Attributes:
        service_name: The `source` of its events, and the `producer` of what simple kinds announce.
        tick_interval: Time between two ticks of a partition.
        kinds: What it decides: all, or all but samples (`core`), or samples alone. Workers of one deployment
            decide all, or some of them core and others samples.
        standby_replicas: How many other workers follow each changelog partition, to take over fast.
    """

    kafka: KafkaSettings
    policy: Policy = field(default_factory=Policy)
    service_name: str = SOURCE
    tick_interval: timedelta = timedelta(seconds=30)
    kinds: WorkerKinds = "all"
    standby_replicas: int = 0


class WorkerCrashed(RuntimeError):
    """Faust gave up; the process must end, so that its supervisor starts a new one."""


async def run(
    settings: WorkerSettings, *, stop: asyncio.Event, ready: Callable[[Callable[[], bool]], None]
) -> None:
    """Run until asked to stop.

    Args:
        ready: Called with a function that returns whether tables are recovered and agents are working.

    Raises:
        TopicMismatch: the topics are missing or differ from the configuration.
        NotPermitted: Kafka does not grant what a worker needs.
        TopicReplaced: one of them was deleted and created again while the worker ran.
        WorkerCrashed: a part of the app died; another worker can safely take its partitions.
        Unavailable: asked to stop while Kafka is away.
    """
    kafka = settings.kafka
    await require_rights(kafka, WORKER)
    await check_topics(kafka, WORKER)
    group = SAMPLES_GROUP if settings.kinds == "samples" else GROUP
    app = create_app(kafka, group=group, standby_replicas=settings.standby_replicas)
    producer = app.publisher
    await producer.start()
    tickers = [] if settings.kinds == "samples" else [_clusters(app, settings)]
    wakers = _kinds(app, settings)
    app.topic_ids = ids = await topic_ids(kafka, kafka.topics.worked_on)
    app.finalize()
    ready(lambda: app.at_work and not HELD.names)
    RECOVERING.set_function(lambda: float(app.recovering))
    await app.start()
    ticking = [
        *(asyncio.create_task(ticker.tick(settings.tick_interval)) for ticker in tickers),
        *(asyncio.create_task(waker.run()) for waker in (*tickers, *wakers)),
        *(() if settings.kinds == "core" else (asyncio.create_task(listen(kafka)),)),
        asyncio.create_task(HELD.watch(app.kafka_consumers)),
        asyncio.create_task(UNAVAILABLE_PARTITIONS.watch(_unavailable(app))),
        asyncio.create_task(watch_topics(kafka, ids)),
    ]
    crashed = asyncio.create_task(app.until_crashed())
    stopped = asyncio.create_task(stop.wait())
    tasks = (*ticking, crashed, stopped)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for part in ticking:
            if part.done():
                part.result()
        if crashed.done():  # the rest of the app cannot be stopped in order
            raise WorkerCrashed(repr(app.crash_reason)) from app.crash_reason
    except TopicReplaced:
        await _stop(app, producer, kafka)
        raise
    finally:
        for task in tasks:
            task.cancel()
    await _stop(app, producer, kafka)


def _clusters(app: BatchApp, settings: WorkerSettings) -> Ticker:
    """Add the agent of clusters to the app; returns what ticks for it."""
    kafka = settings.kafka
    clock = clusters.attach(
        app,
        kafka=kafka,
        clusters=cluster_table(app, kafka),
        names=name_table(app, kafka),
        producer=app.publisher,
        policy=settings.policy,
        source=settings.service_name,
    )
    return Ticker(app, app.publisher, clock, topic=kafka.topics.ticks)


def _kinds(app: BatchApp, settings: WorkerSettings) -> Sequence[KindWaker]:
    """Add the agents of the simple kinds that this worker decides; returns what wakes their entities."""
    topics = settings.kafka.topics
    flows = {flow.kind.name: flow.deployed(topics.of) for flow in simple_flows(settings.policy)}
    reactions = reactions_of(flows, accepted=topics.accepted_commands)
    decided = {"all": {True, False}, "core": {False}, "samples": {True}}[settings.kinds]
    return [
        _kind(app, settings, flow, reactions.get(name, ()))
        for name, flow in flows.items()
        if (name == SAMPLES.name) in decided
    ]


def _kind(
    app: BatchApp, settings: WorkerSettings, flow: Flow[Any, Any, Any], reactions: Sequence[Reaction]
) -> KindWaker:
    """Add the agent of a simple kind to the app; returns what wakes its entities."""
    kafka = settings.kafka
    agent = KindAgent(
        flow,
        table=table_of(app, kafka, flow),
        producer=app.publisher,
        partitions=kafka.partitions,
        source=settings.service_name,
        reactions=reactions,
    )
    add_agent(app, agent.name, (flow.commands,), agent.run)
    return KindWaker(app, app.publisher, agent)


def _unavailable(app: BatchApp) -> Callable[[], Set[Partition]]:
    """A function that returns the unavailable partitions that the worker reads or writes."""
    unacknowledged = Unacknowledged(app.publisher.waiting)
    return lambda: unacknowledged.look() | app.unreachable()


async def _stop(app: BatchApp, producer: Producer, kafka: KafkaSettings) -> None:
    """Let running turns end. While Kafka is away they cannot, and during a rebalance there are none.

    Raises: Unavailable: Kafka is away, so waiting is useless. WorkerCrashed: the app did not stop in time.
        In both cases the process must end.
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
