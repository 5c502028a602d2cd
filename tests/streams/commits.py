"""What the group of the workers has committed of its commands."""

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streams.settings import GROUP, KafkaSettings
from tests.conftest import until


async def uncommitted(kafka: KafkaSettings) -> int:
    """Records that the group has not committed."""
    places = [TopicPartition(kafka.topics.commands, p) for p in range(kafka.partitions)]
    async with AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers) as consumer:
        ends = await consumer.end_offsets(places)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        committed = await admin.list_consumer_group_offsets(kafka.topics.prefix + GROUP)
    finally:
        await admin.close()
    return sum(ends[place] - (committed[place].offset if place in committed else 0) for place in places)


async def until_committed(kafka: KafkaSettings) -> None:
    async def all_committed() -> bool:
        return await uncommitted(kafka) == 0

    await until(all_committed, within=40, what="everything committed")
