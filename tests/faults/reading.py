"""Reads topics whole."""

from aiokafka import ConsumerRecord

from tests.chaos.observe import all_records


async def records_of(bootstrap_servers: str, topic: str) -> list[ConsumerRecord]:
    """All records of a topic, as they lie in their partitions."""
    return [record async for record in all_records(bootstrap_servers, topic)]
