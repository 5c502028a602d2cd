"""What tests of recovery begin with: its settings and commands, held names, and the records of a topic."""

import asyncio
from datetime import timedelta

from aiokafka import AIOKafkaConsumer, TopicPartition

from database import DatabaseSettings
from domain.cluster.names import NameRecord, name_key
from recovery import RecoverySettings
from streams.json import encode
from streams.settings import KafkaSettings
from tests.processes import run
from tests.sinks.conftest import World
from tests.sinks.given import OWNER


def settings_of(world: World, *, wait: float = 0.5) -> RecoverySettings:
    """Settings of recovery for a world; `wait`: how many seconds the sink may be behind."""
    database = DatabaseSettings(url=world.database_url)
    return RecoverySettings(kafka=world.kafka, database=database, wait=timedelta(seconds=wait))


async def hold(world, name, cluster_id, *, owner=OWNER):
    """Say on `cluster-names` who holds a name; an empty id: nobody."""
    record = NameRecord(cluster_id=cluster_id, command_id="", offsets={"cluster-create-requests": 1})
    await world.send(world.topics.names, [(name_key(owner, name).encode(), encode(record))])


async def a_run(*command, **environment):
    """How a command of the product ended."""
    return await asyncio.to_thread(run, *command, **environment)


async def everything(kafka: KafkaSettings, topic: str):
    """All records of a topic, as any Kafka client reads them."""
    places = [TopicPartition(topic, partition) for partition in range(kafka.partitions)]
    found = []
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest"
    ) as consumer:
        consumer.assign(places)
        left = sum((await consumer.end_offsets(places)).values())
        while len(found) < left:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += records
    return found
