"""Whether everything is quiet: every input worked off, every output stored."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient


async def until_worked_off(
    bootstrap_servers: str, *, group: str, topics: Iterable[str], within: float
) -> list[str]:
    """Wait until a group has committed every record of some topics; returns what is left after the time."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap_servers, group_id=None)
    await consumer.start()
    try:
        deadline = time.monotonic() + within
        while True:
            ends = await consumer.end_offsets(list(consumer.assignment()))
            committed = await admin.list_consumer_group_offsets(group)
            left = [
                f"{tp.topic}[{tp.partition}]: {end - _committed(committed, tp)} of {end} records"
                for tp, end in ends.items()
                if _committed(committed, tp) < end
            ]
            if not left or time.monotonic() > deadline:
                return left
            await asyncio.sleep(0.2)
    finally:
        await consumer.stop()
        await admin.close()


def _committed(offsets: Mapping[TopicPartition, Any], tp: TopicPartition) -> int:
    return max(0, offsets[tp].offset) if tp in offsets else 0


async def until_stored(
    bootstrap_servers: str, url: str, *, topics: Iterable[str], within: float
) -> list[str]:
    """Wait until the sink's positions have reached the ends of some topics; returns what is left."""
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap_servers, group_id=None)
    await consumer.start()
    connection = await asyncpg.connect(url)
    try:
        deadline = time.monotonic() + within
        while True:
            ends = await consumer.end_offsets(list(consumer.assignment()))
            stored = {
                TopicPartition(row["topic"], row["partition"]): row["next_offset"]
                for row in await connection.fetch("SELECT topic, partition, next_offset FROM sink_offsets")
            }
            left = [
                f"{tp.topic}[{tp.partition}]: {end - stored.get(tp, 0)} of {end} records"
                for tp, end in ends.items()
                if stored.get(tp, 0) < end
            ]
            if not left or time.monotonic() > deadline:
                return left
            await asyncio.sleep(0.2)
    finally:
        await connection.close()
        await consumer.stop()
