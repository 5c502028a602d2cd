"""The schema: applied in order, once, and as the contract names it."""

import asyncio

import asyncpg
import pytest

from migrations import apply, migrate, migrations
from tests.conftest import Servers


async def applied(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT version FROM schema_migrations ORDER BY applied_at, version")
        return [row["version"] for row in rows]
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
    broken = {"0001_good": "CREATE TABLE good ()", "0002_bad": "CREATE TABLE bad (); SELECT 1 / 0"}
    monkeypatch.setattr(apply, "migrations", lambda: broken)

    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(url)
    assert await applied(url) == ["0001_good"]

    monkeypatch.setattr(apply, "migrations", lambda: {**broken, "0002_bad": "CREATE TABLE bad ()"})
    assert await migrate(url) == ["0002_bad"]


def test_each_opens_with_its_reason():
    assert migrations()
    assert all(sql.startswith("-- Why: ") for sql in migrations().values())
