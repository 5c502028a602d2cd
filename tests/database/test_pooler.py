"""PostgreSQL behind a pooler: with its setting everything works, without it the reason names both."""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from database import DatabaseSettings, Pool, Pooler
from domain.errors import SinkUnavailable
from migrations import migrate, migrations
from recovery import rebuild, verify
from streams.topics import Topics
from tests.conftest import Servers, until
from tests.database.pgbouncer import needed, pgbouncer
from tests.recovery.test_comparable import a_run, hold, settings_of
from tests.sinks.conftest import World, a_world
from tests.sinks.given import cluster, event, report, rows_of, uuid

pytestmark = needed

SET = "DATABASE_POOLER=transaction"


@pytest.fixture(params=["transaction", "session"])
async def behind(request: pytest.FixtureRequest, servers: Servers) -> AsyncIterator[tuple[str, str]]:
    """The URLs of an empty database: by a pooler, and straight."""
    url = await servers.new_database()
    with pgbouncer(url, mode=request.param) as pooled:

        async def answers() -> bool:
            try:
                await (await asyncpg.connect(pooled, statement_cache_size=0)).close()
            except OSError:
                return False
            return True

        await until(answers, what="PgBouncer")
        yield pooled, url


async def test_sink_verify_and_rebuild_work_behind_it(behind: tuple[str, str], servers: Servers):
    pooled, url = behind
    assert list(migrations()) == await migrate(pooled, pooler=Pooler.TRANSACTION)
    assert [] == await migrate(pooled, pooler=Pooler.TRANSACTION)
    database = DatabaseSettings(url=pooled, pooler=Pooler.TRANSACTION)
    async with a_world(await servers.new_topics(partitions=3), url) as world:
        records = [cluster(n, reports=[report()]) for n in range(100)]
        for each in records:
            await hold(world, each.cluster.name, each.cluster.id)
        async with world.sink(database=database, writers=2, batch_records=10):
            await world.publish(*records)
            await world.announce(*[event(n) for n in range(50)])
            await world.drained()
            await world.fetch("UPDATE clusters SET spec = '{}' WHERE id = $1", uuid(7))
            await world.fetch("INSERT INTO clusters (name, created_by) VALUES ('made up', 'me')")
            settings = replace(settings_of(world, wait=20), database=database, page=7)
            found = await verify(settings, repair=True)
        assert (True, 2) == (found.equal, found.repaired["clusters"])
        assert rows_of(records) == await world.tables()

        new = replace(world.kafka, topics=Topics(f"{world.topics.prefix}new."))
        assert 100 == (await rebuild(replace(settings, kafka=new))).clusters


async def test_several_migrate_at_once_behind_it(behind: tuple[str, str]):
    pooled, _ = behind
    results = await asyncio.gather(*[migrate(pooled, pooler=Pooler.TRANSACTION) for _ in range(4)])
    assert list(migrations()) == sorted(version for applied in results for version in applied)


async def test_settings_hold_for_a_transaction_and_no_longer(behind: tuple[str, str]):
    """The next transaction on that connection to the server may be anybody's."""
    pooled, _ = behind
    settings = DatabaseSettings(url=pooled, pooler=Pooler.TRANSACTION)
    pool = Pool(settings, application="test", session={"synchronous_commit": "off"})

    async with pool.transaction("test") as connection:
        within = await connection.fetchval("SHOW synchronous_commit")
        name = await connection.fetchval("SHOW application_name")
    plain = Pool(settings, application="other")
    async with plain.transaction("test") as connection:
        afterwards = await connection.fetchval("SHOW synchronous_commit")
    await pool.close()
    await plain.close()

    assert ("off", "test", "on") == (within, name, afterwards)


@pytest.fixture
async def stored(behind: tuple[str, str], servers: Servers) -> AsyncIterator[World]:
    async with a_world(await servers.new_topics(partitions=1), behind[1]) as world:
        await world.publish(cluster("one"))
        yield world


async def test_without_its_setting_the_reason_names_it(
    behind: tuple[str, str], stored: World, caplog: pytest.LogCaptureFixture
):
    database = DatabaseSettings(url=behind[0])
    caplog.set_level(logging.WARNING, "clusterflow.sink")
    async with stored.sink(database=database):

        async def waits() -> bool:
            return "the sink waits" in caplog.messages

        await until(waits)
    [why] = {record.error for record in caplog.records if record.message == "the sink waits"}
    assert SET in why
    assert "startup parameter" in why
    with pytest.raises(SinkUnavailable, match=SET):
        await verify(replace(settings_of(stored), database=database))


async def test_the_commands_take_the_setting(behind: tuple[str, str]):
    done = await a_run("migrate", DATABASE_URL=behind[0], DATABASE_POOLER="transaction")
    assert (0, len(migrations())) == (done.returncode, len(done.stdout.splitlines())), done.stderr
    bad = await a_run("migrate", DATABASE_URL=behind[0], DATABASE_POOLER="statement")
    assert (2, True) == (bad.returncode, "DATABASE_POOLER" in bad.stderr)
