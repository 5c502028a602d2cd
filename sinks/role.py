"""A process that writes rows: several writers that share the partitions.

The roles `sink` and `recorder` are such processes. They differ in their topics, and in what becomes of these.
Rows may go into several databases. Then each database has writers of its own, which read the topics of its
tables; all of them are members of one group, and a database that is away holds up no other.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from database import DatabaseSettings, Pool
from sinks import metrics
from sinks.batch import Writer
from sinks.mapping import Mappings
from sinks.postgres import SESSION, Postgres
from sinks.settings import SinkSettings
from streams.kafka.admin import check_topics, kafka_cluster_id
from streams.kafka.brokers import Brokers
from streams.kafka.held import HELD
from streams.kafka.patience import once_it_answers
from streams.kafka.rights import require_rights
from streams.kafka.topic_ids import topic_ids, watch_topics
from streams.kafka.unavailable import UNAVAILABLE_PARTITIONS, Partition
from streams.reading.fetches import fetch_in_sessions, stop_consumer
from streams.writing.producer import Producer

log = logging.getLogger("clusterflow.sink")

# Seconds between measurements of the lag.
LAG_INTERVAL: Final = 2.0

# Bytes of one fetch, which together with the current batch bounds memory. Half of it may be of one partition:
# when catching up, a long stretch of few partitions contains more records of the same clusters than a short
# one of all partitions, and only the last record of each cluster has to be written.
FETCH_MAX_BYTES: Final = 16 * 1024 * 1024


class Share(NamedTuple):
    """What goes into one database: the topics to read, and how their records become rows."""

    database: DatabaseSettings
    mappings: Mappings


class _Kafka(NamedTuple):
    """The id of Kafka, and the ids of the topics read there by name."""

    cluster_id: str
    topic_ids: Mapping[str, str]


async def run(
    settings: SinkSettings,
    shares: Sequence[Share],
    *,
    stop: asyncio.Event,
    ready: Callable[[bool], None] = lambda available: None,
) -> None:
    """Write records as rows until asked to stop; a running batch is finished first.

    Args:
        shares: What goes into each database.
        ready: Called with whether all assigned partitions are being written, which is false while the
            database is away.

    Raises: ExceptionGroup: errors that waiting does not cure, already logged. The process must end.
    """
    read = [topic for share in shares for topic in share.mappings.topics]
    try:
        if (kafka := await _known(settings, read, stop)) is not None:
            await _run(settings, shares, kafka, stop, ready)
    except Exception:
        log.critical("writing failed", exc_info=True)
        raise
    finally:
        ready(False)


async def _run(
    settings: SinkSettings,
    shares: Sequence[Share],
    kafka: _Kafka,
    stop: asyncio.Event,
    ready: Callable[[bool], None],
) -> None:
    writers: list[Writer] = []
    consumers: dict[AIOKafkaConsumer, Brokers] = {}

    def changed() -> None:
        ready(all(writer.available for writer in writers))

    def unreachable() -> set[Partition]:
        of_each = [brokers.unreachable(one.assignment()) for one, brokers in consumers.items()]
        return set().union(*of_each)

    async with AsyncExitStack() as resources:
        pools = [Pool(share.database, application=settings.client_id, session=SESSION) for share in shares]
        for pool in pools:
            pool.watched()
            resources.push_async_callback(pool.close)
        members = [each for each in zip(pools, shares, strict=True) for _ in range(settings.writers)]
        for number, (pool, (_, mappings)) in enumerate(members):
            database = Postgres(pool, mappings, kafka_cluster_id=kafka.cluster_id)
            consumer, brokers = await resources.enter_async_context(_consumer(settings, number))
            consumers[consumer] = brokers
            producer = Producer(settings.kafka, client_id=f"{settings.client_id}-{number}")
            resources.push_async_callback(producer.stop)
            writers.append(
                Writer(settings, consumer, mappings, database, producer, stop=stop, changed=changed)
            )
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(writer.run()) for writer in writers]
            lag = group.create_task(_watch_lag(writers))
            held = group.create_task(HELD.watch(lambda: consumers))
            unavailable = group.create_task(UNAVAILABLE_PARTITIONS.watch(unreachable))
            replaced = group.create_task(watch_topics(settings.kafka, kafka.topic_ids))
            await asyncio.wait(running)
            for watching in (lag, held, unavailable, replaced):
                watching.cancel()


@asynccontextmanager
async def _consumer(settings: SinkSettings, number: int) -> AsyncIterator[tuple[AIOKafkaConsumer, Brokers]]:
    consumer = AIOKafkaConsumer(
        **settings.kafka.member(f"{settings.client_id}-{number}", settings.group_id),
        auto_offset_reset="none",  # positions come from the database, and a wrong one must raise an error
        fetch_max_bytes=FETCH_MAX_BYTES,
        max_partition_fetch_bytes=FETCH_MAX_BYTES // 2,
    )
    brokers = Brokers.of(consumer)
    try:
        await consumer.start()
        fetch_in_sessions(consumer, pause=settings.gather)
        yield consumer, brokers
    finally:
        await stop_consumer(consumer)


async def _watch_lag(writers: Sequence[Writer]) -> None:
    while True:
        try:
            metrics.LAG.set(sum([await writer.lag() for writer in writers]))
        except KafkaError as error:
            log.debug("lag unknown", extra={"error": repr(error)})
        await asyncio.sleep(LAG_INTERVAL)


async def _known(settings: SinkSettings, read: Sequence[str], stop: asyncio.Event) -> _Kafka | None:
    """Wait until Kafka answers, and return its id and topics; None if asked to stop before that.

    Raises: TopicMismatch: topics that this role uses are missing or differ from the configuration.
        NotPermitted.
    """

    async def ask() -> _Kafka:
        await require_rights(settings.kafka, settings.role)
        await check_topics(settings.kafka, settings.role)
        return _Kafka(await kafka_cluster_id(settings.kafka), await topic_ids(settings.kafka, read))

    return await once_it_answers(ask, stop=stop, log=log)
