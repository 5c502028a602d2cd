"""PostgreSQL behind a pooler: with its setting everything works, without it the reason names both."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest

from database import DatabaseSettings, Pool, Pooler
from domain.errors import SinkUnavailable
from migrations import migrate, migrations
from migrations.apply import NotMigrated
from recovery import rebuild, verify
from sinks.postgres import SESSION, transaction
from streams.topics import Topics
from tests.conftest import Servers, until
from tests.database.pgbouncer import needed, pgbouncer
from tests.recovery.given import a_run, hold, settings_of
from tests.sinks.conftest import World, a_world
from tests.sinks.given import cluster, event, report, rows_of, uuid

pytestmark = needed

SET = "DATABASE_POOLER=transaction"


@asynccontextmanager
async def running(database_url: str, *, mode: str) -> AsyncIterator[str]:
    with pgbouncer(database_url, mode=mode) as pooled:

        async def answers() -> bool:
            try:
                connection = await asyncpg.connect(pooled, statement_cache_size=0)
            except (OSError, asyncpg.PostgresError):
                return False
            await connection.close()
            return True

        await until(answers, what="PgBouncer")
        yield pooled


@pytest.fixture(scope="module")
async def pooled(servers: Servers) -> AsyncIterator[str]:
    """The URL of an empty database by way of PgBouncer."""
    async with running(await servers.new_database(), mode="transaction") as url:
        yield url


@pytest.fixture(params=["transaction", "session"])
async def behind(request: pytest.FixtureRequest, servers: Servers) -> AsyncIterator[tuple[str, str]]:
    """The URLs of an empty database: by a pooler, and straight."""
    url = await servers.new_database()
    async with running(url, mode=request.param) as pooled:
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
            return "writing waits" in caplog.messages

        await until(waits)
    [why] = {record.error for record in caplog.records if record.message == "writing waits"}
    assert SET in why
    assert "startup parameter" in why
    with pytest.raises(SinkUnavailable, match=SET):
        await verify(replace(settings_of(stored), database=database))


async def test_the_commands_take_the_setting(behind: tuple[str, str]):
    done = await a_run("migrate", DATABASE_URL=behind[0], DATABASE_POOLER="transaction")
    assert (0, len(migrations())) == (done.returncode, len(done.stdout.splitlines())), done.stderr
    bad = await a_run("migrate", DATABASE_URL=behind[0], DATABASE_POOLER="statement")
    assert (2, True) == (bad.returncode, "DATABASE_POOLER" in bad.stderr)


async def test_migrations_go_through_it(pooled):
    results = await asyncio.gather(*[migrate(pooled, pooler=Pooler.TRANSACTION) for _ in range(3)])
    assert [*migrations()] == sorted(version for applied in results for version in applied)
    assert [] == await migrate(pooled, pooler=Pooler.TRANSACTION)


async def test_transactions_go_through_it_with_their_settings(pooled):
    settings = DatabaseSettings(url=pooled, pooler=Pooler.TRANSACTION)
    pool = Pool(settings, application="test", session=SESSION)

    async def work(number):
        async with transaction(pool, "test") as connection:
            told = await connection.fetchval("SELECT current_setting('synchronous_commit')")
            same = await connection.fetchval("SELECT $1::int", number)
            return told, same

    try:
        found = await asyncio.gather(*[work(number) for number in range(50)])
    finally:
        await pool.close()
    assert [("off", number) for number in range(50)] == found


async def test_without_the_setting_prepared_statements_name_it_too(pooled):
    pool = Pool(DatabaseSettings(url=pooled), application="test")

    async def work():
        async with transaction(pool, "test") as connection:
            await connection.fetchval("SELECT pg_sleep($1::float)", 0.01)

    try:
        for _ in range(20):
            ended = await asyncio.gather(*[work() for _ in range(6)], return_exceptions=True)
            if failed := [error for error in ended if error is not None]:
                break
    finally:
        await pool.close()
    assert failed
    assert all(isinstance(error, SinkUnavailable) for error in failed), failed
    assert "DATABASE_POOLER=transaction" in str(failed[0])


async def test_a_migration_that_meets_it_unprepared_is_told(pooled):
    # given that every connection to the server has the statements of other programs
    others = [await asyncpg.connect(pooled, statement_cache_size=0) for _ in range(2)]
    held = [other.transaction() for other in others]
    for transaction_, other in zip(held, others, strict=True):
        await transaction_.start()  # so that each has a connection of its own
        await other.execute("DEALLOCATE ALL")
        await other.execute("; ".join(f'PREPARE "__asyncpg_stmt_{n:x}__" AS SELECT 1' for n in range(5000)))
    for transaction_ in held:
        await transaction_.commit()

    # when, then
    try:
        with pytest.raises(NotMigrated, match="DATABASE_POOLER=transaction"):
            await migrate(pooled)
    finally:
        for other in others:  # the next connection is one of the two, as long as nobody gives it back
            await other.transaction().start()
            await other.execute("DEALLOCATE ALL")
        for other in others:
            await other.close()
