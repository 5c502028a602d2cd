"""The pool's bounds, and what it tells of connections and statements, on a real server."""

import asyncio
import logging
from datetime import timedelta

import asyncpg
import pytest
from prometheus_client import REGISTRY

from database import DatabaseSettings, Pool
from tests.conftest import until
from tests.e2e.product import free_port


@pytest.fixture
def pool_of(servers):
    pools = []

    def make(**settings) -> Pool:
        pool = Pool(
            DatabaseSettings(**{"url": servers.database_url, **settings}), application=f"pool{len(pools)}"
        )
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        assert pool._inner is None, "a test leaves no pool open"


@pytest.fixture
async def sessions(servers):
    """How many connections of an application the server sees."""
    connection = await asyncpg.connect(servers.database_url)

    async def count(application="pool0") -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
        return await connection.fetchval(query, application)

    yield count
    await connection.close()


def sample(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"clusterflow_database_{name}", labels)


async def pid(pool: Pool) -> int:
    async with pool.connection("test") as connection:
        return connection.get_server_pid()


async def test_nothing_connects_before_it_is_needed(pool_of, sessions):
    pool = pool_of()
    assert await sessions() == 0
    await pid(pool)
    assert await sessions() == 1
    await pool.close()


async def test_a_connection_is_used_again(pool_of):
    pool = pool_of()
    assert len({await pid(pool) for _ in range(5)}) == 1
    await pool.close()


async def test_who_needs_one_more_than_may_be_open_waits(pool_of, sessions):
    pool = pool_of(max_open=2)
    async with pool.connection("test"), pool.connection("test"):
        third = asyncio.create_task(pid(pool))
        await asyncio.wait({third}, timeout=0.3)
        assert not third.done()
        assert await sessions() == 2
    await asyncio.wait_for(third, 5)
    await pool.close()


async def test_no_more_stay_open_than_may_be_idle(pool_of, sessions):
    pool = pool_of(max_idle=1)
    async with pool.connection("test"), pool.connection("test"), pool.connection("test"):
        assert await sessions() == 3

    async def one_is_left() -> bool:
        return await sessions() == 1

    await until(one_is_left, within=5)
    await pool.close()


async def test_an_idle_connection_is_closed(pool_of, sessions):
    pool = pool_of(max_idle_time=timedelta(milliseconds=200))
    await pid(pool)

    async def none_is_left() -> bool:
        return await sessions() == 0

    await until(none_is_left, within=5)
    await pool.close()


async def test_an_old_connection_is_replaced(pool_of):
    pool = pool_of(max_lifetime=timedelta(milliseconds=200))
    first = await pid(pool)

    async def is_replaced() -> bool:
        return await pid(pool) != first

    await until(is_replaced, within=5)
    await pool.close()


async def test_a_connection_that_is_cut_is_an_os_error_and_the_next_one_works(pool_of):
    pool = pool_of()
    with pytest.raises(OSError, match="the connection is gone"):
        async with pool.connection("test") as connection:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    await pid(pool)
    await pool.close()


async def test_a_refused_row_keeps_the_connection(pool_of):
    pool = pool_of()
    before = await pid(pool)
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with pool.connection("test") as connection:
            await connection.execute("SELECT 1/0")
    assert before == await pid(pool)
    await pool.close()


async def test_a_server_that_is_away_is_an_os_error(pool_of):
    pool = pool_of(url=f"postgresql://me:hunter2@127.0.0.1:{free_port()}/x")
    with pytest.raises(OSError, match=r"(?i)connect") as told:
        await pid(pool)
    assert "hunter2" not in repr(told.value)
    await pool.close()


async def test_the_gauges_tell_what_is_open(pool_of):
    # given how many others of this process have open
    pool = pool_of(max_open=7)
    before = gauges()

    def added() -> tuple[float, ...]:
        return tuple(now - then for now, then in zip(gauges(), before, strict=True))

    # when a pool is watched and used, then it is counted as well, until it is closed
    pool.watched()
    async with pool.connection("test"), pool.connection("test"):
        assert (2, 0, 7) == added()
    assert (0, 2, 7) == added()
    await pool.close()
    assert (0, 0, 0) == added()


def gauges() -> tuple[float, ...]:
    return tuple(sample(f"connections_{name}") or 0.0 for name in ("active", "idle", "max"))


def told(caplog):
    """What the pool has logged, whoever else logs meanwhile."""
    return [record for record in caplog.records if record.name == "clusterflow.repository"]


async def test_statements_are_timed_and_slow_ones_told_without_their_text(pool_of, caplog):
    pool = pool_of()
    before = sample("query_duration_seconds_count", operation="nap") or 0
    with caplog.at_level(logging.WARNING, "clusterflow.repository"):
        async with pool.connection("nap") as connection:
            await connection.fetch("SELECT $1::text", "marker")
            assert not told(caplog)
            await connection.fetch("SELECT pg_sleep(0.12), $1::text", "marker")
    assert sample("query_duration_seconds_count", operation="nap") == before + 2
    [slow] = told(caplog)
    assert ("slow query", "slow", "nap") == (slow.message, slow.performance, slow.operation)
    assert slow.duration_ms >= 100
    assert "marker" not in str(vars(slow))
    await pool.close()
