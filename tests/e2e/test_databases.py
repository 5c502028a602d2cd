"""Three databases by their variables: migrated, written, compared, repaired, and used to fill a new Kafka."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import pytest

from database.names import DATABASES
from tests.conftest import until
from tests.e2e.product import Client
from tests.processes import answers, environment_of, eventually, role, run

ROLES = ("web", "worker", "executor", "relay", "sink", "recorder")

CLUSTERS = {"clusters", "controller_status", "reconciliation_schedule", "cluster_events"}
TABLES = {
    "rest": {*CLUSTERS, "resources", "outbox_events"},
    "grpc": {"tasks", "outbox_events"},
    "worker": {"processed_events"},
}
BOOKS = {"sink_offsets", "schema_migrations"}


@dataclass
class Databases:
    """The databases by name, and what processes are told of them."""

    urls: dict[str, str]
    environment: dict[str, str]

    async def fetch(self, name: str, query: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.urls[name])
        try:
            return await connection.fetch(query)
        finally:
            await connection.close()

    async def count(self, name: str, table: str) -> int:
        return int((await self.fetch(name, f"SELECT count(*) FROM {table}"))[0][0])

    async def run(self, *command: str, **environment: str) -> Any:
        return await asyncio.to_thread(run, *command, **{**self.environment, **environment})


def variables(name: str, url: str) -> dict[str, str]:
    """The group of variables that says where a database is."""
    parts = urlsplit(url)
    said = {
        "HOST": parts.hostname,
        "PORT": str(parts.port),
        "USER": parts.username,
        "PASSWORD": parts.password,
        "NAME": parts.path[1:],
    }
    return {f"{name.upper()}_DB_{part}": text for part, text in said.items() if text}


@pytest.fixture(scope="module")
async def databases(servers) -> Databases:
    """Three databases that `clusterflow migrate` has found by their variables."""
    kafka = await servers.new_topics()
    urls = {name: await servers.new_database() for name in DATABASES}
    environment = {key: text for key, text in environment_of(kafka, "").items() if text}
    for name, url in urls.items():
        environment |= variables(name, url)
    found = Databases(urls, environment)
    migrated = await found.run("migrate")
    assert migrated.returncode == 0, migrated.stderr
    assert "applied 0008_tasks in the database of grpc" in migrated.stdout.splitlines()
    return found


@pytest.mark.parametrize("name", DATABASES)
async def test_a_database_has_its_tables_and_no_others(databases, name):
    rows = await databases.fetch(name, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    found = {row[0] for row in rows}
    assert TABLES[name] | BOOKS <= found
    others = set().union(*(tables for other, tables in TABLES.items() if other != name))
    assert not found & (others - TABLES[name])


async def test_rows_are_where_they_belong_and_are_compared_and_restored(databases, tmp_path):
    # given every role, told of three databases
    with ExitStack() as running:
        for name in ROLES:
            _, url = running.enter_context(role(name, tmp_path / name, **databases.environment))
            await asyncio.to_thread(eventually, lambda url=url: answers(f"{url}/ready", 200))

        # when there are a cluster, a resource, and the task that it starts
        await written(f"http://127.0.0.1:{databases.environment['PORT']}")

        # then each database has its rows
        for name, table, rows in (
            *(("rest", "clusters", 1), ("rest", "resources", 1), ("grpc", "tasks", 1)),
            ("worker", "processed_events", 3),
        ):
            await until(counted(databases, name, table, rows), what=f"{rows} rows in {table} of {name}")

        # and they are compared, and repaired
        assert 0 == (await databases.run("verify")).returncode
        await databases.fetch("rest", "UPDATE resources SET name = 'x'")
        await databases.fetch("grpc", "DELETE FROM tasks")
        assert 1 == (await databases.run("verify")).returncode
        repaired = await databases.run("verify", "--repair")
        assert 0 == repaired.returncode, repaired.stdout
        assert 1 == await databases.count("grpc", "tasks")

    # and when Kafka is lost, a new one is filled from them
    rebuilt = await databases.run("rebuild", KAFKA_TOPIC_PREFIX="rebuilt.")
    assert 0 == rebuilt.returncode, rebuilt.stderr
    for name in DATABASES:
        assert 0 == await databases.count(name, "sink_offsets"), "each is read from its beginning then"
    with role("sink", tmp_path / "sink-after", **{**databases.environment, "KAFKA_TOPIC_PREFIX": "rebuilt."}):
        await until(compared(databases), within=60, what="equal rows after the rebuild")


async def written(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        client = Client(url, session, "owner@example.com")
        await client.created("one")
        assert 201 == (await client.request("POST", "/api/v1/resources", {"name": "first"})).status


def counted(databases: Databases, name: str, table: str, rows: int) -> Callable[[], Awaitable[bool]]:
    async def enough() -> bool:
        return await databases.count(name, table) == rows

    return enough


def compared(databases: Databases) -> Callable[[], Awaitable[bool]]:
    async def equal() -> bool:
        return (await databases.run("verify", KAFKA_TOPIC_PREFIX="rebuilt.")).returncode == 0

    return equal
