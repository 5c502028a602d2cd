"""The role `worker`: all agents and their tables in one Faust app."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from agents import clusters, names
from agents.ticker import tick
from domain.policy import Policy
from streams.admin import check_topics
from streams.app import create_app
from streams.producer import Producer
from streams.settings import KafkaSettings
from tables.clusters import cluster_table, name_table

# Seconds for turns under way to end; what then is not committed is taken up by another worker.
STOP_WITHIN: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What a worker is told.

    Attributes:
        tick_interval: Time between two ticks of a partition.
        standby_replicas: Workers that follow each partition's changelog to take over warm.
    """

    kafka: KafkaSettings
    policy: Policy = field(default_factory=Policy)
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
        WorkerCrashed: a part of the app died; its partitions are safe with whoever comes next.
    """
    kafka = settings.kafka
    await check_topics(kafka)
    app = create_app(kafka, standby_replicas=settings.standby_replicas)
    producer = Producer(kafka.bootstrap_servers, client_id="clusterflow-worker", lease=app.lease)
    await producer.start()
    names.attach(app, kafka=kafka, names=name_table(app, kafka), producer=producer, policy=settings.policy)
    clusters.attach(
        app, kafka=kafka, clusters=cluster_table(app, kafka), producer=producer, policy=settings.policy
    )
    app.finalize()
    ready(lambda: app.at_work)
    await app.start()
    ticker = asyncio.create_task(
        tick(app, producer, topic=kafka.topics.ticks, interval=settings.tick_interval)
    )
    crashed = asyncio.create_task(app._crashed.wait())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({crashed, stopped, ticker}, return_when=asyncio.FIRST_COMPLETED)
        if ticker.done():
            ticker.result()
        if crashed.done():  # what is left of the app can't be stopped in order, only left
            raise WorkerCrashed(repr(app._crash_reason))
    finally:
        for task in (ticker, crashed, stopped):
            task.cancel()
    try:
        async with asyncio.timeout(STOP_WITHIN):
            await app.stop()
            await producer.stop()
    except TimeoutError:
        raise WorkerCrashed("not stopped in time; what is not committed is decided again") from None
