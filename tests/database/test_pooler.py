"""PgBouncer in transaction mode before PostgreSQL: all works with the setting, which is named without it."""

import asyncio
import os
import shutil
import subprocess
from urllib.parse import urlsplit

import asyncpg
import pytest

from database import DatabaseSettings, Pool, Pooler
from domain.errors import SinkUnavailable
from migrations import migrate, migrations
from migrations.apply import NotMigrated
from sinks.postgres import SESSION, transaction
from tests.conftest import until
from tests.e2e.product import free_port

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs PgBouncer: apt-get install pgbouncer")


@pytest.fixture(scope="module")
async def pooled(servers, tmp_path_factory):
    """The URL of an empty database by way of PgBouncer."""
    direct = await servers.new_database()
    server, port = urlsplit(direct), free_port()
    folder = tmp_path_factory.mktemp("pgbouncer")
    password = f" password={server.password}" if server.password else ""
    (folder / "pgbouncer.ini").write_text(
        "[databases]\n"
        f"* = host={server.hostname} port={server.port} user={server.username}{password}\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        "pool_mode = transaction\ndefault_pool_size = 2\n"
    )
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    process = subprocess.Popen(  # noqa: ASYNC220 (starting it takes no time)
        [PROGRAM, "-q", *user, folder / "pgbouncer.ini"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = server._replace(netloc=f"{server.username}@127.0.0.1:{port}").geturl()

    async def answers():
        assert process.poll() is None, "PgBouncer has ended"
        try:
            connection = await asyncpg.connect(url, statement_cache_size=0)
        except (OSError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    await until(answers, what="PgBouncer")
    yield url
    process.terminate()
    process.wait(10)


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


async def test_without_the_setting_the_reason_names_it(pooled):
    pool = Pool(DatabaseSettings(url=pooled), application="test", session=SESSION)
    try:
        with pytest.raises(SinkUnavailable, match="DATABASE_POOLER=transaction"):
            async with transaction(pool, "test") as connection:
                await connection.execute("SELECT 1")
    finally:
        await pool.close()


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
    async def told():
        try:
            await asyncio.gather(*[migrate(pooled) for _ in range(4)])
        except NotMigrated as refusal:
            return "DATABASE_POOLER=transaction" in str(refusal)
        return False

    await until(told, what="a refusal that names the pooler")
