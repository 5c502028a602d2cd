"""Whether everything is quiet: every input worked off, every output stored."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient


async def until_worked_off(
    bootstrap_servers: str, *, group: str, topics: Iterable[str], within: float
) -> list[str]:
    """Wait until a group has committed every record of some topics; returns what is left after the time."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()

    async def committed() -> Mapping[TopicPartition, int]:
        offsets = await admin.list_consumer_group_offsets(group)
        return {tp: committed.offset for tp, committed in offsets.items()}

    try:
        return await _until_reached(bootstrap_servers, topics, committed, within)
    finally:
        await admin.close()


async def until_stored(
    bootstrap_servers: str, url: str, *, topics: Iterable[str], within: float
) -> list[str]:
    """Wait until the sink's positions have reached the ends of some topics; returns what is left."""
    connection = await asyncpg.connect(url)

    async def stored() -> Mapping[TopicPartition, int]:
        rows = await connection.fetch("SELECT topic, partition, next_offset FROM sink_offsets")
        return {TopicPartition(row["topic"], row["partition"]): row["next_offset"] for row in rows}

    try:
        return await _until_reached(bootstrap_servers, topics, stored, within)
    finally:
        await connection.close()


async def _until_reached(
    bootstrap_servers: str,
    topics: Iterable[str],
    positions: Callable[[], Awaitable[Mapping[TopicPartition, int]]],
    within: float,
) -> list[str]:
    """Wait until positions are at the ends of some topics; returns the partitions where they are not."""
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap_servers, group_id=None)
    await consumer.start()
    try:
        deadline = time.monotonic() + within
        while True:
            ends = await consumer.end_offsets(list(consumer.assignment()))
            reached = await positions()
            left = [
                f"{tp.topic}[{tp.partition}]: {end - max(0, reached.get(tp, 0))} of {end} records"
                for tp, end in ends.items()
                if reached.get(tp, 0) < end
            ]
            if not left or time.monotonic() > deadline:
                return left
            await asyncio.sleep(0.2)
    finally:
        await consumer.stop()
