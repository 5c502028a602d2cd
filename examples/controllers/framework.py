"""Runs a controller: connects it to Kafka and Clusterflow's API, and ends it in order on SIGTERM or Ctrl-C.

Records come from `consumption` (partitions, commits), go through `handler` (filters, attempts, reports),
which calls the controller. A controller's own file needs three names from here: `Controller`,
`ClusterflowApi` and `run`.
"""

import asyncio
import logging
import signal
import sys
from contextlib import AsyncExitStack
from typing import Final

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from examples.controllers.api import ClusterflowApi
from examples.controllers.consumption import Consumption, Stop, Stopping
from examples.controllers.handler import Controller, Handler, Headers, Send
from examples.controllers.settings import ConfigurationError, Settings, from_env

__all__ = ["ClusterflowApi", "Controller", "run"]

log = logging.getLogger(__name__)

API_TIMEOUT: Final = 10.0  # seconds
TOPIC_POLL: Final = 2.0  # seconds between two looks for the events topic
DEAD_LETTER_RETENTION: Final = 30 * 24 * 3600 * 1000  # milliseconds
# The contract gives an event ten minutes of work. This program polls while it works, so it needs less; the
# value is what a plainer one, which works between two polls, has to set.
MAX_POLL_INTERVAL: Final = 600_000  # milliseconds
FETCH_WAIT: Final = 100  # milliseconds; a partition that is resumed waits for the fetch under way
TOPIC_EXISTS: Final = 36  # the broker's error code


def run(controller: type[Controller]) -> None:
    """Run a controller until SIGTERM or Ctrl-C; the last line of its file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stdout)
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    try:
        asyncio.run(_serve(controller, from_env()))
    except ConfigurationError as error:
        sys.exit(str(error))
    except KafkaError as error:
        sys.exit(f"cannot go on without Kafka: {error}; look at KAFKA_BOOTSTRAP_SERVERS and start it again")


async def _serve(kind: type[Controller], settings: Settings) -> None:
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    async with AsyncExitStack() as resources:
        session = await resources.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=API_TIMEOUT))
        )
        controller = kind(settings, ClusterflowApi(session, settings.api_url, kind.name))
        try:
            await _prepare_topics(settings, controller.name, stop)
        except Stopping:
            return
        producer = await resources.enter_async_context(_producer(settings))
        handler = Handler(controller, settings, send=_sender(producer), wait=stop.sleep)
        consumer = await resources.enter_async_context(_consumer(settings, controller.name))
        log.info("%s consumes %s", controller.name, settings.events_topic)
        await Consumption(consumer, handler.handle, stop).run(
            settings.events_topic, grace=settings.stop_grace
        )
        log.info("%s ends", controller.name)


def _producer(settings: Settings) -> AIOKafkaProducer:
    # Its default partitioner is Java's (murmur2), which the contract asks for.
    return AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, enable_idempotence=True, acks="all")


def _consumer(settings: Settings, controller: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers,
        group_id=f"{settings.topic_prefix}{controller}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",  # a new controller takes on the clusters that are there
        max_poll_interval_ms=MAX_POLL_INTERVAL,
        fetch_max_wait_ms=FETCH_WAIT,
        isolation_level="read_committed",
    )


def _sender(producer: AIOKafkaProducer) -> Send:
    async def send(topic: str, *, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        await producer.send_and_wait(topic, value=value, key=key, headers=headers)

    return send


async def _prepare_topics(settings: Settings, controller: str, stop: Stop) -> None:
    """Wait until Clusterflow has declared its topics, and declare our own for dead letters."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        while settings.events_topic not in await admin.list_topics():
            log.warning("topic %s doesn't exist yet: start Clusterflow", settings.events_topic)
            await stop.sleep(TOPIC_POLL)
        [events] = await admin.describe_topics([settings.events_topic])
        dead_letters = NewTopic(
            name=settings.dead_letters_topic(controller),
            num_partitions=1,
            replication_factor=len(events["partitions"][0]["replicas"]),
            topic_configs={"retention.ms": str(DEAD_LETTER_RETENTION)},
        )
        answer = await admin.create_topics([dead_letters])
        for topic, code, *message in answer.topic_errors:
            if code not in (0, TOPIC_EXISTS):
                raise KafkaError(f"cannot create topic {topic}: {message}")
    finally:
        await admin.close()
