"""One of three brokers falls silent, as a frozen machine does, under writes to every partition."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from bench.stage import RoleProcess, Stage, wait_ready
from streams.kafka.partitions import partition_of
from streams.topics import Topics
from tests.conftest import Brokers, Servers, until
from tests.e2e.product import SPEC, Client, an_owner

PARTITIONS = 4
GOES_ON_WITHIN = 20.0  # seconds: twice what it may take, since other tests may keep the machine busy
WATCHED = 5.0  # seconds of silence in which no write may fail any more


@pytest.fixture
async def stage(brokers: Brokers, servers: Servers, topics: Topics, tmp_path: Path) -> Iterator[Stage]:
    """A stage without roles, on three brokers."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": brokers.bootstrap_servers,
        "KAFKA_REPLICATION": "3",
        "KAFKA_TOPIC_PREFIX": topics.prefix,
        "KAFKA_PARTITIONS": str(PARTITIONS),
        "DATABASE_URL": await servers.new_database(),
    }
    with Stage(tmp_path, environment) as stage:
        yield stage
        brokers.heal()
        for role in stage.roles:
            if role.running():
                role.kill()


@dataclass
class Writer:
    """Updates one cluster over and over; knows when it last could, and since when it could not."""

    client: Client
    cluster_id: str
    served: list[float] = field(default_factory=list)
    failed: list[tuple[float, int, bytes]] = field(default_factory=list)

    async def run(self) -> None:
        while True:
            answer = await self.client.update(self.cluster_id, {**SPEC, "at": time.monotonic()})
            if answer.status == 200:
                self.served.append(time.monotonic())
            else:
                self.failed.append((time.monotonic(), answer.status, answer.body))
            await asyncio.sleep(0.05)


async def writers(client: Client) -> list[Writer]:
    """One for a cluster of each partition."""
    found: dict[int, Writer] = {}
    while len(found) < PARTITIONS:
        cluster = await client.created(f"c{time.monotonic_ns()}")
        found.setdefault(partition_of(cluster["id"].encode(), PARTITIONS), Writer(client, cluster["id"]))
    return [*found.values()]


async def leader(brokers: Brokers, topic: str, partition: int) -> int:
    async with AIOKafkaProducer(bootstrap_servers=brokers.bootstrap_servers) as producer:
        await producer.partitions_for(topic)
        number: int = producer.client.cluster.leader_for_partition(TopicPartition(topic, partition))
        return number


async def told(session: aiohttp.ClientSession, role: RoleProcess) -> list[str]:
    """The partitions that a role says it can't use."""
    async with session.get(f"http://127.0.0.1:{role.metrics_port}/ready") as response:
        partitions: list[str] = (await response.json())["unavailable_partitions"]
        return partitions


async def test_without_two_of_three_writes_are_refused_and_reads_go_on(
    stage: Stage, brokers: Brokers, topics: Topics
) -> None:
    # given a cluster
    worker, web = stage.start("worker"), stage.start("web")
    wait_ready(worker, web)
    async with aiohttp.ClientSession() as session:
        client = Client(f"http://127.0.0.1:{web.port}", session, an_owner())
        cluster = await client.created()

        # when two brokers are silent, so that no write has its two copies
        for number in (1, 2):
            brokers.node(number).pause()

        # then a write is refused, and says so
        answer = await client.update(cluster["id"], {**SPEC, "size": 2})
        assert (503, "UNAVAILABLE") == (answer.status, answer["code"])
        assert "Retry-After" in answer.headers

        # and web and worker tell which partitions they can't use
        for role in (web, worker):

            async def named(role: RoleProcess = role) -> list[str]:
                return await told(session, role)

            partitions = await until(named, within=GOES_ON_WITHIN, what=f"{role.name} telling of partitions")
            assert all(partition.startswith(topics.prefix) for partition in partitions)

        # and reads go on
        assert cluster["spec"] == (await client.get(cluster["id"]))["spec"]

        # and when both are back, so do writes
        brokers.heal()

        async def written() -> bool:
            return (await client.update(cluster["id"], {**SPEC, "size": 3})).status == 200

        await until(written, within=GOES_ON_WITHIN, what="a write")


async def test_writes_to_every_partition_go_on_while_a_broker_is_silent(
    stage: Stage, brokers: Brokers, topics: Topics
) -> None:
    # given writes to every partition
    worker, web = stage.start("worker"), stage.start("web")
    wait_ready(worker, web)
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        at_work = await writers(Client(f"http://127.0.0.1:{web.port}", session, an_owner()))
        running = [group.create_task(writer.run()) for writer in at_work]

        # when the leader of one partition falls silent, and stays so
        brokers.node(await leader(brokers, topics.state, 0)).pause()
        silent = time.monotonic()

        # then Kafka goes on without it, and so do all writes
        async def all_go_on() -> bool:
            return all(writer.served and writer.served[-1] > silent + 2.0 for writer in at_work)

        await until(all_go_on, within=GOES_ON_WITHIN, what="a write to each partition")
        went_on = time.monotonic()

        async def watched() -> bool:
            return time.monotonic() > went_on + WATCHED

        await until(watched, what="the time that is looked at")
        assert [] == [
            failure for writer in at_work for failure in writer.failed if failure[0] > went_on + 4.0
        ]
        assert all(writer.served[-1] > went_on + WATCHED - 2.0 for writer in at_work)

        # and what may fail meanwhile says that its outcome is not known
        assert {503} >= {status for writer in at_work for _, status, _ in writer.failed}
        for task in running:
            task.cancel()
