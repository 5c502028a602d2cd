"""A database that cannot hold every text is refused, before anything is lost in it."""

import asyncio

import asyncpg
import pytest

import sinks
from database import DatabaseSettings, WrongEncoding
from migrations import migrate, migrations
from recovery import RecoverySettings, rebuild, verify
from sinks import SinkSettings
from tests.conftest import Servers
from tests.recovery.given import a_run

LOCALE = "TEMPLATE template0 LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'"
OTHERS = [pytest.param(f"ENCODING '{name}' {LOCALE}", id=name) for name in ("LATIN1", "SQL_ASCII")]


async def migrated_all_the_same(servers: Servers, options: str) -> str:
    """As by an earlier version, which did not look."""
    url = await servers.new_database(options)
    connection = await asyncpg.connect(url)
    for sql in migrations().values():
        await connection.execute(sql)
    await connection.close()
    return url


@pytest.mark.parametrize("options", OTHERS)
async def test_migrate_refuses_it(servers: Servers, options: str):
    url = await servers.new_database(options)

    with pytest.raises(WrongEncoding, match=r"ENCODING 'UTF8' TEMPLATE template0"):
        await migrate(url)

    connection = await asyncpg.connect(url)
    assert None is await connection.fetchval("SELECT to_regclass('schema_migrations')")
    await connection.close()


@pytest.mark.parametrize("options", OTHERS)
async def test_sink_verify_and_rebuild_refuse_it(servers: Servers, options: str):
    kafka = await servers.new_topics(partitions=1)
    database = DatabaseSettings(url=await migrated_all_the_same(servers, options))
    recovery = RecoverySettings(kafka=kafka, database=database)
    sink = SinkSettings(kafka=kafka, database=database, group_id=f"{kafka.topics.prefix}sink", writers=1)

    with pytest.raises(ExceptionGroup) as ended:
        await asyncio.wait_for(sinks.run(sink, stop=asyncio.Event()), 30)
    assert [WrongEncoding] == [type(error) for error in ended.value.exceptions]
    for command in (verify, rebuild):
        with pytest.raises(WrongEncoding):
            await command(recovery)


async def test_the_command_says_what_to_do(servers: Servers):
    url = await servers.new_database(f"ENCODING 'LATIN1' {LOCALE}")

    refused = await a_run("migrate", DATABASE_URL=url)

    assert (1, False) == (refused.returncode, "Traceback" in refused.stderr)
    assert "the database has encoding LATIN1" in refused.stderr
