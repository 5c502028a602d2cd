"""A sink at work on real servers: `world` has topics and a database of its own, and runs the role on them."""

import asyncio
import base64
import json
import pickle
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from database import DatabaseSettings
from deploy.embedded import Stack
from domain.cluster.state import ClusterState
from migrations import migrate
from sinks import SinkSettings, recorder, run
from sinks.recorder import RecorderSettings
from sinks.table import Table
from sinks.tables import mappings
from streams.flows import PUBLIC
from streams.json import encode
from streams.settings import KafkaSettings
from streams.topics import Topics
from tests.conftest import Servers, until
from tests.sinks.given import Tables, comparable, ordered

TABLES = {
    "clusters": "id, name, target_project_id, created_by, generation, resource_version, spec, metadata,"
    " status, status_dirty, created_at, updated_at, deleted_at",
    "controller_status": "cluster_id, controller_name, observed_generation, conditions, metadata,"
    " last_error, updated_at",
    "reconciliation_schedule": "cluster_id, last_reconciled_at, next_reconcile_at, enabled, needs_attention,"
    " created_at",
}


@dataclass
class Sink:
    """A running role, and what it has said about its readiness."""

    said: list[bool] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        return bool(self.said) and self.said[-1]


class World:
    """What goes in and what comes out; knows nothing of the sink's inside."""

    def __init__(
        self, kafka: KafkaSettings, database_url: str, producer: AIOKafkaProducer, tail: AIOKafkaConsumer
    ):
        self.kafka = kafka
        self.topics: Topics = kafka.topics
        self.database_url = database_url
        self._producer = producer
        self._tail = tail
        self.written: tuple[Table[Any], ...] = ()  # kinds beside clusters

    @property
    def settings(self) -> SinkSettings:
        return SinkSettings(group_id=f"{self.topics.prefix}sink", **self._common)

    @property
    def recorder_settings(self) -> RecorderSettings:
        return RecorderSettings(group_id=f"{self.topics.prefix}recorder", **self._common)

    @property
    def _common(self) -> dict[str, Any]:
        database = DatabaseSettings(url=self.database_url)
        return {"kafka": self.kafka, "database": database, "writers": 1, "max_backoff": 0.5}

    async def publish(self, *records: ClusterState) -> None:
        """State records, in this order."""
        await self.send(
            self.topics.state, [(record.cluster.id.encode(), encode(record)) for record in records]
        )

    async def announce(self, *events: dict[str, Any]) -> None:
        """Public events, in this order."""
        await self.send(
            self.topics.events,
            [(event["cluster_id"].encode(), json.dumps(event).encode()) for event in events],
        )

    async def send(
        self, topic: str, records: Iterable[tuple[bytes | None, bytes | None]]
    ) -> list[tuple[int, int]]:
        """Any bytes; returns partition and offset of each record."""
        pending = [await self._producer.send(topic, key=key, value=value) for key, value in records]
        return [(stored.partition, stored.offset) for stored in await asyncio.gather(*pending)]

    async def send_public(
        self, name: str, value: bytes | None, *, key: bytes | None = b"one", **headers: str
    ) -> tuple[str, int, int]:
        """A record of a public topic, with these headers; returns topic, partition and offset."""
        sent = [(header, text.encode()) for header, text in headers.items()]
        topic = self.topics.of(name)
        stored = await self._producer.send_and_wait(topic, value, key=key, headers=sent)
        return topic, stored.partition, stored.offset

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self.database_url)
        try:
            yield connection
        finally:
            await connection.close()

    async def fetch(self, query: str, *args: Any) -> list[dict[str, Any]]:
        async with self.connection() as connection:
            return [comparable(row) for row in await connection.fetch(query, *args)]

    async def tables(self) -> Tables:
        """Everything that a record decides."""
        return {
            table: ordered(await self.fetch(f"SELECT {columns} FROM {table}"))
            for table, columns in TABLES.items()
        }

    async def positions(self) -> dict[tuple[str, int], int]:
        rows = await self.fetch("SELECT topic, partition, next_offset FROM sink_offsets")
        return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}

    async def caught_up(self, read: Iterable[str] = ()) -> bool:
        """Whether the positions are at the end of these topics, or of all that the sink reads."""
        partitions = [
            TopicPartition(topic, partition)
            for topic in read or mappings(self.topics, self.written).topics
            for partition in range(self.kafka.partitions)
        ]
        ends = await self._tail.end_offsets(partitions)
        positions = await self.positions()
        return all(positions.get((tp.topic, tp.partition), 0) == end for tp, end in ends.items())

    async def drained(self) -> None:
        await until(self.caught_up, within=90, what="the sink at the end of its topics")

    async def recorded(self) -> None:
        read = [self.topics.of(name) for name in PUBLIC]
        await until(lambda: self.caught_up(read), within=90, what="the recorder at the end of its topics")

    async def dead_letters(self, topic: str) -> Sequence[ConsumerRecord]:
        """All of a topic's, in no particular order."""
        partitions = [TopicPartition(f"{topic}.dlq", 0)]
        self._tail.assign(partitions)
        await self._tail.seek_to_beginning(*partitions)
        ends = await self._tail.end_offsets(partitions)
        found: list[ConsumerRecord] = []
        while len(found) < sum(ends.values()):
            for records in (await self._tail.getmany(timeout_ms=1000)).values():
                found += records
        return found

    @asynccontextmanager
    async def sink(self, **settings: Any) -> AsyncIterator[Sink]:
        """The role `sink`, stopped in order at the end; fails if it ends before."""
        running = partial(run, replace(self.settings, **settings), tables=self.written)
        async with self._role(running) as sink:
            yield sink

    @asynccontextmanager
    async def recorder(self, **settings: Any) -> AsyncIterator[Sink]:
        """The role `recorder`, likewise."""
        running = partial(recorder.run, replace(self.recorder_settings, **settings))
        async with self._role(running) as sink:
            yield sink

    @asynccontextmanager
    async def _role(self, run: Callable[..., Coroutine[Any, Any, None]]) -> AsyncIterator[Sink]:
        stop = asyncio.Event()
        sink = Sink()
        task = asyncio.create_task(run(stop=stop, ready=sink.said.append))
        try:
            yield sink
            assert not task.done()
        finally:
            stop.set()
            await asyncio.wait_for(task, 20)

    async def drain(self, **settings: Any) -> None:
        """Run a sink until it is at the end of its topics."""
        async with self.sink(**settings):
            await self.drained()

    async def record(self, **settings: Any) -> None:
        """Run a recorder until it is at the end of its topics."""
        async with self.recorder(**settings):
            await self.recorded()


@asynccontextmanager
async def a_world(kafka: KafkaSettings, database_url: str) -> AsyncIterator[World]:
    await migrate(database_url)
    servers = kafka.bootstrap_servers
    async with (
        AIOKafkaProducer(
            bootstrap_servers=servers, enable_idempotence=True, max_request_size=8_000_000
        ) as producer,
        AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest") as tail,
    ):
        yield World(kafka, database_url, producer, tail)


PROGRAM = """
import asyncio, base64, pickle, sys
from {module} import run
settings = pickle.loads(base64.b64decode(sys.argv[1]))
asyncio.run(run(settings, stop=asyncio.Event()))
"""


async def running(module: str, settings: SinkSettings) -> asyncio.subprocess.Process:
    """A role in a process of its own, by the module whose `run` it is."""
    text = base64.b64encode(pickle.dumps(settings)).decode()
    program = PROGRAM.format(module=module)
    root = Path(__file__).parents[2]
    return await asyncio.create_subprocess_exec(sys.executable, "-c", program, text, cwd=root)


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[Stack]:
    """Servers that a test may kill."""
    stack = Stack(tmp_path / "stack")
    stack.start(["kafka", "postgres"])
    try:
        yield stack
    finally:
        stack.stop()


@pytest.fixture
async def fragile_world(fragile: Stack) -> AsyncIterator[World]:
    servers = Servers(fragile.kafka.bootstrap_servers, fragile.postgres.url, "")
    async with a_world(await servers.new_topics(partitions=3), await servers.new_database()) as world:
        yield world


@pytest.fixture
async def world(servers: Servers) -> AsyncIterator[World]:
    async with a_world(await servers.new_topics(partitions=3), await servers.new_database()) as world:
        yield world
