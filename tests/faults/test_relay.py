"""The relay while Kafka is silent, when it is killed, and when it is frozen (resources contract, 5.3)."""

import asyncio
import json
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.stage import RoleProcess, Stage, wait_ready
from migrations.apply import migrate
from streams.kafka.topic_ids import topic_ids
from streams.settings import KafkaSettings
from streams.topics import Topics
from tests.conftest import Brokers, Servers, until
from tests.e2e.product import Deployment, headers_of
from tests.faults.outboxes import LEFT
from tests.faults.reading import records_of

ROWS = 5000
AGGREGATES = 50
SILENT = 8.0  # seconds in which no broker answers
INSERT = """
INSERT INTO outbox_events (id, aggregate_id, event_type, payload)
SELECT id, aggregate_id, event_type, payload::jsonb
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS rows (id, aggregate_id, event_type, payload)
"""
Row = tuple[str, str, str, str]


@dataclass(frozen=True)
class Database:
    """A migrated database, and a program that writes rows there."""

    url: str
    connection: asyncpg.Connection

    async def insert(self, rows: Sequence[Row]) -> None:
        await self.connection.execute(INSERT, *map(list, zip(*rows, strict=True)))

    async def left(self) -> dict[str, int]:
        """How many rows of each aggregate are not published."""
        return dict(await self.connection.fetch(LEFT))

    async def until_published(self, *, within: float = 60.0) -> None:
        async def done() -> bool:
            return not await self.left()

        await until(done, within=within, what="all rows published")


@pytest.fixture
async def database(servers: Servers) -> AsyncIterator[Database]:
    url = await servers.new_database()
    await migrate(url)
    connection = await asyncpg.connect(url)
    yield Database(url, connection)
    await connection.close()


@pytest.fixture
def stage(brokers: Brokers, database: Database, topics: Topics, tmp_path: Path) -> Iterator[Stage]:
    """A stage without roles, on three brokers that can fall silent."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": brokers.bootstrap_servers,
        "KAFKA_REPLICATION": "3",
        "KAFKA_TOPIC_PREFIX": topics.prefix,
        "KAFKA_PARTITIONS": "4",
        "DATABASE_URL": database.url,
    }
    with Stage(tmp_path, environment) as stage:
        yield stage
        brokers.heal()
        for role in stage.roles:
            if role.running():
                os.kill(role.pid, signal.SIGCONT)
                role.kill()


def updates(prefix: str, count: int) -> list[Row]:
    """Writes of some resources in turn, each of which says its number."""
    resources = [f"{prefix}-res-{number % AGGREGATES}" for number in range(count)]
    return [
        (f"{prefix}-{number}", id, "resource.updated", json.dumps({"id": id, "name": str(number)}))
        for number, id in enumerate(resources)
    ]


@pytest.mark.timeout(240)
async def test_rows_written_while_kafka_is_silent_are_all_announced_in_order(
    stage: Stage, brokers: Brokers, topics: Topics, database: Database
) -> None:
    # given a relay at work
    wait_ready(relay := stage.start("relay"))
    rows = updates("a", ROWS)

    # when another process writes rows, Kafka falls silent meanwhile, and the relay is killed twice
    await database.insert(rows[: ROWS // 2])
    for broker in brokers.stack.brokers:
        broker.pause()
    await database.insert(rows[ROWS // 2 :])
    for _ in range(2):
        await asyncio.sleep(SILENT / 2)  # the outage itself: there is nothing to wait for
        relay.kill()
        relay = stage.start("relay")
    brokers.heal()
    await database.until_published(within=120)
    wait_ready(stage.start("worker"))

    # then each row is announced, under its own id, in the order of its aggregate
    async def announced() -> Mapping[str, Sequence[str]] | None:
        found = await announced_at(brokers, topics)
        return found if sum(map(len, found.values())) >= ROWS else None

    expected = defaultdict[str, list[str]](list)
    for id, aggregate, *_ in rows:
        expected[aggregate].append(id)
    assert expected == await until(announced, within=60, what="all rows announced")


async def announced_at(brokers: Brokers, topics: Topics) -> Mapping[str, Sequence[str]]:
    """By resource, the ids of its events in the order of its versions."""
    found = defaultdict[str, set[tuple[int, str]]](set)
    for name in ("resource.created", "resource.updated"):
        for record in await records_of(brokers.bootstrap_servers, topics.of(name)):
            headers = headers_of(record)
            found[record.key.decode()].add((int(headers["aggregate_version"]), headers["event_id"]))
    return {key: [id for _, id in sorted(events)] for key, events in found.items()}


@pytest.mark.timeout(120)
async def test_a_standby_takes_over_from_a_frozen_relay_which_then_stands_by(
    stage: Stage, database: Database
) -> None:
    # given two relays, of which the first leads
    wait_ready(stage.start("worker"), first := stage.start("relay"))
    wait_ready(second := stage.start("relay"))
    await database.insert(updates("a", 10))
    await database.until_published()

    # when it is frozen
    os.kill(first.pid, signal.SIGSTOP)
    await database.insert(updates("b", 10))

    # then the other publishes within ten seconds, and twice that on a busy machine
    await database.until_published(within=20)

    # and once the first goes on, it stands by
    os.kill(first.pid, signal.SIGCONT)

    async def handed_over() -> bool:
        return (await leads(first), await leads(second)) == (0.0, 1.0)

    await until(handed_over, what="a lead that has ended")
    await database.insert(updates("c", 10))
    await database.until_published()


async def leads(relay: RoleProcess) -> float:
    """Of how many outboxes a process says that it is the active relay."""
    url = f"http://127.0.0.1:{relay.metrics_port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        lines = (await answer.text()).splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("clusterflow_outbox_leads "))


@pytest.mark.timeout(120)
async def test_rows_for_a_partition_without_a_leader_hold_up_only_their_aggregates(
    brokers: Brokers, database: Database
) -> None:
    # given a topic of somebody else, each of whose partitions is on one broker alone
    kafka = await brokers.new_topics()
    topic = f"{kafka.topics.prefix}order.placed"
    await created(kafka, topic)
    keys = [f"order-{number}" for number in range(60)]

    def rows(*numbers: int) -> list[Row]:
        return [(f"{key}-{number}", key, "order.placed", "{}") for number in numbers for key in keys]

    async with Deployment(kafka) as product:
        await product.relay(database.url, allowed=["order.placed"])
        await database.insert(rows(1))
        await database.until_published()

        # when one broker is silent
        brokers.node(1).pause()
        await database.insert(rows(2, 3))

        # then rows for the partitions of the others are published, and of each aggregate all or none
        async def some() -> bool:
            left = await database.left()
            return 0 < len(left) < len(keys) and {*left.values()} == {2}

        await until(some, what="rows published but for those of one broker")
        stuck = {*await database.left()}
        await database.insert(rows(4))

        async def others() -> bool:
            return {*await database.left()} == stuck

        await until(others, what="later rows published as well")

        # and the rest once it answers, in the order of each aggregate
        brokers.heal()
        await database.until_published()
    published = defaultdict[str, list[str]](list)
    for record in await records_of(brokers.bootstrap_servers, topic):
        published[record.key.decode()].append(headers_of(record)["event_id"])
    expected = {key: [f"{key}-{number}" for number in (1, 2, 3, 4)] for key in keys}
    assert expected == {key: [*dict.fromkeys(ids)] for key, ids in published.items()}


async def created(kafka: KafkaSettings, topic: str) -> None:
    """Create a topic without copies; every broker knows it then."""
    admin = AIOKafkaAdminClient(**kafka.client("test"))
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 6, 1)])
    finally:
        await admin.close()

    async def known() -> bool:
        each = kafka.bootstrap_servers.split(",")
        return all([await topic_ids(replace(kafka, bootstrap_servers=one), [topic]) for one in each])

    await until(known, what="a topic that all brokers know")
