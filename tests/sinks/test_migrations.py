"""The schema: applied in order, once, and as the contract names it."""

import asyncio
from typing import Any

import asyncpg
import pytest

from database.names import DATABASES, DatabaseName
from migrations import apply, migrate, migrations
from sinks.table import Table
from sinks.tables import TABLES
from tests.conftest import Servers

EVERYWHERE = "-- Databases: rest, grpc, worker\n"


async def applied(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT version FROM schema_migrations ORDER BY applied_at, version")
        return [row["version"] for row in rows]
    finally:
        await connection.close()


async def columns(url: str, table: str) -> set[tuple[str, str, bool]]:
    """Name and type of each column, and whether it may be NULL."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
            " WHERE attrelid = $1::text::regclass AND attnum > 0",
            table,
        )
        return {tuple(row) for row in rows}
    finally:
        await connection.close()


async def test_every_migration_is_applied_once(servers: Servers):
    url = await servers.new_database()

    assert await migrate(url) == list(migrations()) == await applied(url)
    assert await migrate(url) == []


async def test_of_several_at_once_each_migration_is_applied_by_one(servers: Servers):
    url = await servers.new_database()

    results = await asyncio.gather(*[migrate(url) for _ in range(4)])

    assert sorted(version for applied in results for version in applied) == list(migrations())


async def test_a_failing_migration_leaves_nothing_of_itself(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
):
    url = await servers.new_database()
    broken = {
        "0001_good": f"{EVERYWHERE}CREATE TABLE good ()",
        "0002_bad": f"{EVERYWHERE}CREATE TABLE bad (); SELECT 1 / 0",
    }
    monkeypatch.setattr(apply, "migrations", lambda: broken)

    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(url)
    assert await applied(url) == ["0001_good"]

    monkeypatch.setattr(
        apply, "migrations", lambda: {**broken, "0002_bad": f"{EVERYWHERE}CREATE TABLE bad ()"}
    )
    assert await migrate(url) == ["0002_bad"]


def test_each_opens_with_its_databases_and_its_reason():
    assert migrations()
    for sql in migrations().values():
        assert apply.homes(sql) <= set(DATABASES)
        assert sql.splitlines()[1].startswith("-- Why: ")


def test_one_that_does_not_say_where_it_belongs_is_refused():
    with pytest.raises(ValueError, match="must begin with `-- Databases: `"):
        apply.homes("CREATE TABLE somewhere ()")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_is_made_in_the_database_that_the_sink_writes_it_to(table: Table[Any]):
    (made,) = [sql for sql in migrations().values() if f"CREATE TABLE {table.name} (" in sql]
    assert {table.database} == apply.homes(made)


@pytest.mark.parametrize("name", DATABASES)
async def test_positions_are_alike_in_every_database(servers: Servers, name: DatabaseName):
    urls = [await servers.new_database(), await servers.new_database()]
    await migrate(urls[0])
    await migrate(urls[1], names=[name])

    everywhere, here = [await columns(url, "sink_offsets") for url in urls]

    assert everywhere == here
    assert len(here) == 8


async def test_what_was_one_database_for_all_may_become_one_of_several(servers: Servers):
    url = await servers.new_database()
    await migrate(url)

    assert [] == await migrate(url, names=["rest"])
    assert list(migrations()) == await applied(url)


async def test_one_of_several_may_become_the_one_for_all(servers: Servers):
    url = await servers.new_database()
    first = await migrate(url, names=["grpc"])

    assert sorted([*first, *await migrate(url)]) == list(migrations())
    assert len(await columns(url, "sink_offsets")) == 8
