"""Shared by the tests of the embedded stack: one running stack, and real clients that write and read."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from deploy.embedded import Stack

TOPIC = "notes"


class Clients:
    """Leaves a note on every server of a stack, and reads back what is there."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def write(self, note: str) -> None:
        self.write_kafka(note)
        self.write_postgres(note)
        redis.Redis.from_url(self.stack.valkey.url).set("note", note)

    def read(self) -> dict[str, list[str]]:
        note = redis.Redis.from_url(self.stack.valkey.url).get("note")
        return {
            "kafka": self.read_kafka(),
            "postgres": self.read_postgres(),
            "valkey": [note.decode()] if note else [],
        }

    def write_kafka(self, note: str) -> None:
        async def produce() -> None:
            servers = self.stack.kafka.bootstrap_servers
            admin = AIOKafkaAdminClient(bootstrap_servers=servers)
            await admin.start()
            if TOPIC not in await admin.list_topics():
                await admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
            await admin.close()
            async with AIOKafkaProducer(bootstrap_servers=servers, acks="all") as producer:
                await producer.send_and_wait(TOPIC, note.encode())

        asyncio.run(produce())

    def read_kafka(self) -> list[str]:
        async def consume() -> list[str]:
            async with AIOKafkaConsumer(bootstrap_servers=self.stack.kafka.bootstrap_servers) as consumer:
                partition = TopicPartition(TOPIC, 0)
                consumer.assign([partition])
                await consumer.seek_to_beginning(partition)
                end = (await consumer.end_offsets([partition]))[partition]
                return [(await consumer.getone()).value.decode() for _ in range(end)]

        return asyncio.run(asyncio.wait_for(consume(), 20))

    def write_postgres(self, note: str) -> None:
        async def insert() -> None:
            connection = await asyncpg.connect(self.stack.postgres.url)
            await connection.execute("CREATE TABLE IF NOT EXISTS notes (note text)")
            await connection.execute("INSERT INTO notes VALUES ($1)", note)
            await connection.close()

        asyncio.run(insert())

    def read_postgres(self) -> list[str]:
        async def select() -> list[str]:
            connection = await asyncpg.connect(self.stack.postgres.url)
            rows = await connection.fetch("SELECT note FROM notes")
            await connection.close()
            return [row["note"] for row in rows]

        return asyncio.run(select())


@pytest.fixture(scope="session")
def clients() -> type[Clients]:
    return Clients


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All three servers, for tests that leave them running."""
    with Stack(tmp_path_factory.mktemp("shared") / "run") as stack:
        yield stack


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def valkey_only(data_dir: Path) -> Iterator[Stack]:
    """The cheapest stack, for what does not depend on the server."""
    stack = Stack(data_dir)
    stack.start(["valkey"])
    yield stack
    stack.stop()


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """Polls until `true` returns something true; fails after `within` seconds."""

    def poll(true: Callable[[], object], *, within: float = 10.0) -> None:
        deadline = time.monotonic() + within
        while not true():
            assert time.monotonic() < deadline, f"still not so after {within} s"
            time.sleep(0.02)

    return poll


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts shell scripts in front of the PATH, in place of programs like `java`."""
    directory = tmp_path / "tools"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory), prepend=":")

    def make(name: str, script: str) -> Path:
        path = directory / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture
def no_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Java and Maven."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.delenv("JAVA_HOME", raising=False)
