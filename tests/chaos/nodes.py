"""What a Kafka of several nodes says of itself, and what it is told to change.

aiokafka knows neither who the active controller is nor how to hold an election: these two requests are put
together here, each from the page of Kafka's protocol that names it.
"""

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import AlterPartitionReassignmentsRequest

from deploy.embedded.kafka import Kafka, live_brokers
from deploy.embedded.ports import HOST

ASKED_WITHIN: Final = 5.0  # seconds for one node to answer
AGAIN_WITHIN: Final = 90.0  # seconds for the cluster to be whole, after a node had to look through its logs
POLL: Final = 0.2
METADATA_TOPIC: Final = b"__cluster_metadata"
DESCRIBE_QUORUM: Final = 55  # its number in Kafka's protocol
ELECT_LEADERS: Final = 43
NO_TAGS: Final = b"\0"


class Partition(NamedTuple):
    """A partition as a broker describes it; `replicas` with the preferred leader first."""

    topic: str
    number: int
    leader: int
    replicas: tuple[int, ...]
    in_sync: frozenset[int]


class Nodes:
    """The nodes of one cluster, asked by their local ports."""

    def __init__(self, brokers: Sequence[Kafka]) -> None:
        self.brokers = brokers

    def node(self, number: int) -> Kafka:
        """One by its number."""
        return next(broker for broker in self.brokers if broker.node == number)

    async def controller(self) -> int:
        """The number of the active controller. Raises: OSError: no node answers."""
        answer = await self._ask(_request(DESCRIBE_QUORUM, 0, NO_TAGS + _quorum_asked()))
        # Correlation, no tags, no error; one topic by its name with one partition: its number, no error.
        place = 4 + 1 + 2 + 1 + 1 + len(METADATA_TOPIC) + 1 + 4 + 2
        return int(struct.unpack_from(">i", answer, place)[0])

    async def coordinator(self, group: str) -> int:
        """The number of the node that coordinates a group, once there is one. Raises: KafkaError."""
        deadline = time.monotonic() + AGAIN_WITHIN
        async with self._admin() as admin:
            while True:
                try:
                    return int(await admin.find_coordinator(group))
                except KafkaError as error:
                    if not error.retriable or time.monotonic() > deadline:
                        raise
                await asyncio.sleep(POLL)

    async def partitions(self) -> list[Partition]:
        """Of all topics. Raises: KafkaError."""
        deadline = time.monotonic() + AGAIN_WITHIN
        while True:
            try:
                return await self._described()
            except KafkaError as error:  # a node that has just come back may not answer yet
                if not error.retriable or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(POLL)

    async def _described(self) -> list[Partition]:
        async with self._admin() as admin:
            return [
                Partition(topic["topic"], each["partition"], each["leader"], tuple(each["replicas"]),
                          frozenset(each["isr"]))
                for topic in await admin.describe_topics()
                for each in topic["partitions"]
            ]  # fmt: skip

    async def leader(self, topic: str, number: int) -> int:
        """The number of the node that leads a partition. Raises: KafkaError."""
        [leader] = [each.leader for each in await self.partitions() if each[:2] == (topic, number)]
        return leader

    async def until_whole(self, *, within: float = AGAIN_WITHIN) -> None:
        """Wait until every node is alive, and every copy of every partition in sync. Raises: TimeoutError."""
        async with asyncio.timeout(within):
            while not await self._whole():
                await asyncio.sleep(POLL)

    async def _whole(self) -> bool:
        everybody = {broker.node for broker in self.brokers}
        try:
            for broker in self.brokers:
                if await asyncio.to_thread(live_brokers, broker.port) != everybody:
                    return False
            partitions = await self._described()
        except (OSError, KafkaError):
            return False
        return all(each.leader >= 0 and each.in_sync == set(each.replicas) for each in partitions)

    async def elect_preferred(self) -> int:
        """Have the first copy of every partition lead it; returns how many had another leader.

        Raises: OSError: no node answers. TimeoutError: a leader did not change.
        """
        others = await self._not_preferred()
        everything = struct.pack(">bii", 0, -1, int(ASKED_WITHIN * 1000))  # preferred leaders, of all topics
        async with asyncio.timeout(AGAIN_WITHIN):
            while await self._not_preferred():  # one that was not in sync for a moment is not elected
                await self._ask(_request(ELECT_LEADERS, 1, everything))
                await asyncio.sleep(POLL)
        return others

    async def _not_preferred(self) -> int:
        return sum(each.leader != each.replicas[0] for each in await self.partitions())

    async def reassign(self, copies: Mapping[tuple[str, int], Sequence[int]]) -> None:
        """Have partitions kept by these nodes, and wait until they are.

        Raises: KafkaError, TimeoutError: the copies are not made in time. RuntimeError: they were refused.
        """
        topics: dict[str, list[Any]] = {}
        for (topic, number), nodes in copies.items():
            topics.setdefault(topic, []).append((number, list(nodes), {}))
        request = AlterPartitionReassignmentsRequest(
            int(ASKED_WITHIN * 1000), [(topic, each, {}) for topic, each in topics.items()], {}
        )
        async with self._admin() as admin:
            answer = await admin._send_request(request)
        codes = {each[1] for topic in answer.responses for each in topic[1]} | {answer.error_code}
        if codes != {0}:
            raise RuntimeError(f"copies were not moved: Kafka's errors {sorted(codes)}")
        async with asyncio.timeout(AGAIN_WITHIN):
            while not self._moved(copies, await self.partitions()):
                await asyncio.sleep(POLL)

    @staticmethod
    def _moved(copies: Mapping[tuple[str, int], Sequence[int]], partitions: Sequence[Partition]) -> bool:
        found = {each[:2]: each for each in partitions}
        return all(
            found[place].replicas == tuple(nodes) and found[place].in_sync == set(nodes)
            for place, nodes in copies.items()
        )

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        running = ",".join(broker.bootstrap_servers for broker in self.brokers if broker.running())
        admin = AIOKafkaAdminClient(bootstrap_servers=running, request_timeout_ms=int(ASKED_WITHIN * 1000))
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()

    async def _ask(self, request: bytes) -> bytes:
        """The answer of the first node that gives one; any passes it on to the controller."""
        deadline = time.monotonic() + ASKED_WITHIN
        while True:
            for broker in self.brokers:
                try:
                    async with asyncio.timeout(ASKED_WITHIN):
                        return await _exchange(broker.port, request)
                except (OSError, EOFError, TimeoutError):
                    continue
            if time.monotonic() > deadline:
                raise ConnectionError("no node of Kafka answers")


async def _exchange(port: int, request: bytes) -> bytes:
    """Raises: OSError, EOFError: nobody answers there."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(struct.pack(">i", len(request)) + request)
        (length,) = struct.unpack(">i", await reader.readexactly(4))
        return await reader.readexactly(length)
    finally:
        writer.close()


def _request(number: int, version: int, body: bytes) -> bytes:
    """A request of a client without a name; a body of a flexible version begins with the header's tags."""
    return struct.pack(">hhih", number, version, 1, -1) + body


def _quorum_asked() -> bytes:
    """One topic, one partition: lengths of compact arrays and strings are sent plus one, and tags follow."""
    name = bytes([len(METADATA_TOPIC) + 1]) + METADATA_TOPIC
    return b"\x02" + name + b"\x02" + struct.pack(">i", 0) + b"\0" + b"\0" + b"\0"
