"""Where partitions end, asked on connections on which no fetch waits.

A broker answers the requests of one connection in their order. Behind a fetch that waits for records, a
question would wait half a second.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, LeaderNotAvailableError, for_code
from aiokafka.protocol.offset import OffsetRequest

from streams.kafka.brokers import QUESTIONS

RETRY_AFTER: Final = 0.05
"""Seconds until a question is asked again whose partition has another leader by now."""

_LATEST: Final = -1
_READ_COMMITTED: Final = 1


async def ends_of(client: Any, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
    """The offsets after the last records that readers of committed records are shown.

    Asks again, for as long as the caller waits, where a partition has just lost its leader.

    Args:
        client: aiokafka's client, watched by `streams.kafka.brokers.Brokers`.

    Raises: KafkaError: a broker refuses, or its connection is lost.
    """
    while True:
        try:
            by_leader: defaultdict[int, list[TopicPartition]] = defaultdict(list)
            for tp in partitions:
                by_leader[_leader(client, tp)].append(tp)
            asked = [_ask(client, leader, tps) for leader, tps in by_leader.items()]
            return {tp: end for found in await asyncio.gather(*asked) for tp, end in found.items()}
        except KafkaError as error:
            if not error.invalid_metadata:
                raise
            client.force_metadata_update()
            await asyncio.sleep(RETRY_AFTER)


def _leader(client: Any, tp: TopicPartition) -> int:
    leader = client.cluster.leader_for_partition(tp)
    if leader is None or leader == -1:
        raise LeaderNotAvailableError(f"{tp.topic}/{tp.partition}")
    return int(leader)


async def _ask(client: Any, leader: int, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    topics: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for tp in partitions:
        topics[tp.topic].append((tp.partition, _LATEST))
    request = OffsetRequest(-1, _READ_COMMITTED, list(topics.items()))
    answer = await client.send(leader, request, group=QUESTIONS)
    found = {}
    for topic, parts in answer.topics:
        for partition, code, _, offset, *_ in parts:
            if code:
                raise for_code(code)(f"{topic}/{partition}")
            found[TopicPartition(topic, partition)] = offset
    return found
