"""Buckets in Valkey are kept as the original keeps them (operations contract, section 3.4)."""

import asyncio
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from domain.rates import Rate
from web.limiter.levels import Levels, Place
from web.limiter.valkey import Valkey


@pytest.fixture
async def server(servers):
    async with Redis.from_url(servers.redis_url, decode_responses=True) as redis:
        yield redis


@pytest.fixture
async def buckets(servers):
    found = Valkey(servers.redis_url, levels=Levels())
    yield found
    await found.close()


@pytest.fixture
def place():
    return Place("jobs_create", f"user:{uuid4()}")


async def take(buckets, place, rate, times=1):
    decisions = [await buckets.take(place, rate, request_id="") for _ in range(times)]
    return [decision.taken for decision in decisions]


async def test_a_bucket_is_kept_as_the_original_keeps_it(buckets, server, place):
    # given
    ((allowed, left),) = await take(buckets, place, Rate(2.5, 0))
    assert (True, 1.5) == (allowed, left)
    # then
    kept = await server.hgetall(f"limiter:{place.name}:{place.scope}")
    assert {"tokens", "last"} == set(kept)
    assert (1.5, True) == (float(kept["tokens"]), kept["last"].isdigit())
    seconds, _ = await server.time()
    assert abs(int(kept["last"]) / 1000 - seconds) < 5
    # when the original has written it
    await server.hset(f"limiter:{place.name}:{place.scope}", mapping={"tokens": "0.250000", "last": "1"})
    # then it goes on from there, and a refusal writes both fields
    assert [(False, 0.25)] == await take(buckets, place, Rate(2.5, 0))
    kept = await server.hgetall(f"limiter:{place.name}:{place.scope}")
    assert (0.25, True) == (float(kept["tokens"]), int(kept["last"]) > 1)


@pytest.mark.parametrize(
    ("rate", "least", "most"),
    [
        pytest.param(Rate(3, 100), 55, 60, id="a minute at least"),
        pytest.param(Rate(100, 0.1), 1990, 2000, id="twice the time it takes to be full"),
        pytest.param(Rate(3, 0), -1, -1, id="for good"),
        pytest.param(Rate(1e9, 1e-9), 315_350_000, 315_360_000, id="ten years at most"),
    ],
)
async def test_it_is_kept_until_it_is_full_and_for_good_without_a_rate(
    buckets, server, place, rate, least, most
):
    await take(buckets, place, Rate(5, 1))
    await take(buckets, place, rate)
    assert least <= await server.ttl(f"limiter:{place.name}:{place.scope}") <= most


async def test_a_script_that_the_server_has_forgotten_is_sent_again(buckets, server, place):
    await take(buckets, place, Rate(5, 0))
    await server.script_flush()
    assert [(True, 3.0)] == await take(buckets, place, Rate(5, 0))


async def test_a_clock_that_goes_back_takes_nothing_away(buckets, server, place):
    seconds, _ = await server.time()
    kept = {"tokens": "2", "last": str((seconds + 3600) * 1000)}
    await server.hset(f"limiter:{place.name}:{place.scope}", mapping=kept)
    assert [(True, 1.0), (True, 0.0), (False, 0.0)] == await take(buckets, place, Rate(5, 1), 3)


async def test_looking_neither_makes_nor_changes_a_bucket(buckets, server, place):
    assert (5.0, "redis") == await buckets.look(place, Rate(5, 0))
    assert 0 == await server.exists(f"limiter:{place.name}:{place.scope}")
    await take(buckets, place, Rate(5, 0), 2)
    assert (3.0, "redis") == await buckets.look(place, Rate(5, 0))


async def test_many_at_once_get_what_there_is(buckets, place):
    decisions = await asyncio.gather(*(buckets.take(place, Rate(5, 0), request_id="") for _ in range(50)))
    assert 5 == sum(decision.taken.allowed for decision in decisions)
    assert {"redis"} == {decision.backend for decision in decisions}
