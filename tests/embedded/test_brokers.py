"""Three brokers keep what they acknowledged, and go on without one of them, however it goes."""

import asyncio
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from deploy.embedded import Stack
from deploy.embedded.kafka import Kafka, live_brokers
from streams.kafka.admin import check_topics
from streams.settings import KafkaSettings
from tests.conftest import Brokers, until

FAILED_OVER_WITHIN = 10.0  # seconds: twice what it takes, for a machine that is busy with other tests
IMPATIENT = 1000  # milliseconds for a broker to answer a client, which may ask the silent one first
PARTITION = 0
SET_ON_TOPIC = 1  # where a setting comes from, as Kafka tells it


async def write(kafka: KafkaSettings, value: bytes) -> bool:
    """Whether a client that knows nothing yet gets a record acknowledged within a second."""
    producer = AIOKafkaProducer(**kafka.client("test"), acks="all", request_timeout_ms=IMPATIENT)
    try:
        async with asyncio.timeout(1.0):
            await producer.start()
            await producer.send_and_wait(kafka.topics.events, value, partition=PARTITION)
    except (KafkaError, TimeoutError):
        return False
    finally:
        await producer.stop()
    return True


async def read(kafka: KafkaSettings) -> list[bytes]:
    async with AIOKafkaConsumer(**kafka.client("test"), request_timeout_ms=IMPATIENT) as consumer:
        partition = TopicPartition(kafka.topics.events, PARTITION)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        return [(await consumer.getone()).value for _ in range(end)]


async def leader(kafka: KafkaSettings) -> int:
    async with AIOKafkaProducer(**kafka.client("test"), request_timeout_ms=IMPATIENT) as producer:
        await producer.partitions_for(kafka.topics.events)
        return producer.client.cluster.leader_for_partition(TopicPartition(kafka.topics.events, PARTITION))


async def test_topics_are_as_three_brokers_want_them(
    brokers: Brokers, caplog: pytest.LogCaptureFixture
) -> None:
    kafka = await brokers.new_topics()
    await check_topics(kafka)
    assert "doubtful topic" not in caplog.messages

    # whatever the brokers' own default is
    admin = AIOKafkaAdminClient(**kafka.client("test"))
    await admin.start()
    try:
        names = [ConfigResource(ConfigResourceType.TOPIC, kafka.topics.events)]
        ((_, _, _, _, entries),) = (await admin.describe_configs(names))[0].resources
    finally:
        await admin.close()
    assert ("2", SET_ON_TOPIC) == {entry[0]: (entry[1], entry[3]) for entry in entries}["min.insync.replicas"]


@pytest.mark.parametrize("end", [Kafka.pause, Kafka.kill, Kafka.stop])
async def test_writes_go_on_without_the_leader(brokers: Brokers, end: Callable[[Kafka], None]) -> None:
    # given a record that is acknowledged
    kafka = await brokers.new_topics()
    await until(lambda: write(kafka, b"before"), what="the first write")
    first = brokers.node(await leader(kafka))

    # when its partition's leader is silent, dead or gone
    await asyncio.to_thread(end, first)

    # then another takes over, which has the record
    await until(lambda: write(kafka, b"after"), within=FAILED_OVER_WITHIN, what="a write to another leader")
    assert await leader(kafka) != first.node
    assert (await read(kafka))[0] == b"before"


async def test_a_paused_node_is_missed_and_comes_back(brokers: Brokers) -> None:
    paused, other = brokers.node(2), brokers.node(1)
    numbers = {1, 2, 3}

    async def known() -> set[int]:
        return live_brokers(other.port)

    async def all_but_one() -> bool:
        return await known() == numbers - {2}

    async def all_three() -> bool:
        return await known() == numbers

    await until(all_three, what="three brokers")
    paused.pause()
    await until(all_but_one, within=FAILED_OVER_WITHIN, what="two brokers")
    paused.resume()
    await until(all_three, what="three brokers again")


async def test_one_broker_of_three_takes_no_write(brokers: Brokers) -> None:
    # given records in three copies
    kafka = await brokers.new_topics()
    await until(lambda: write(kafka, b"before"), what="the first write")

    # when two of the three are gone, nothing is acknowledged
    for number in (1, 2):
        brokers.node(number).kill()
    assert not await write(kafka, b"meanwhile")

    # then it is again once they are back
    await asyncio.to_thread(brokers.heal)
    await until(lambda: write(kafka, b"after"), what="a write to all three")


def test_three_brokers_keep_data_and_ports_over_a_second_start(data_dir) -> None:
    first = Stack(data_dir, brokers=3)
    first.start(["kafka"])
    environment = first.environment()
    first.stop()

    second = Stack(data_dir, brokers=3)
    second.start(["kafka"])

    assert environment == second.environment()
    for broker in second.brokers:
        broker.kill()
    second.stop()
