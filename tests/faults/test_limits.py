"""Limits hold though what keeps them dies (operations contract, sections 3.4 and 17)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from prometheus_client import REGISTRY

from bench.stage import HOST, RoleProcess, Stage, wait_ready
from bench.wire import Answer, AsyncConnection, request_bytes
from deploy.embedded.stack import Stack
from tests.conftest import until
from tests.e2e.product import Client, Deployment, an_owner
from web.limits import LimiterSettings

DIAGNOSE: Final = "/api/v1/diagnosis/diagnose"
STATUS: Final = "/api/v1/observability/ratelimit"
CAPACITY: Final = 20
LET_THROUGH, TURNED_AWAY = 400, 429
"""A diagnosis of no cluster is refused once its limit has let it through."""

ASKED: Final[dict[str, Any]] = {}


# --- an agent's buckets -------------------------------------------------------------------------------


@pytest.mark.timeout(180)
async def test_no_more_are_let_through_though_the_worker_is_killed(stage: Stage) -> None:
    # given two web processes, and tokens that never come back
    webs = [await asyncio.to_thread(stage.start, "web") for _ in range(2)]
    worker = await asyncio.to_thread(stage.start, "worker")
    await asyncio.to_thread(wait_ready, *webs, worker)
    limit = {"name": "diagnosis", "capacity": CAPACITY, "refill_rate": 0}
    assert 200 == (await sent(webs[0], f"{STATUS}/config", limit)).status
    await until(lambda: knows(webs[1]), within=2, what="the limit in the other process")

    # when the worker dies while half of the requests are under way
    asking = [asyncio.create_task(sent(webs[number % 2], DIAGNOSE, ASKED)) for number in range(CAPACITY // 2)]
    await asyncio.gather(*asking)
    asking += [asyncio.create_task(sent(webs[number % 2], DIAGNOSE, ASKED)) for number in range(100)]
    await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
    worker.kill()
    another = await asyncio.to_thread(stage.start, "worker")
    await asyncio.to_thread(wait_ready, another)
    answers = await asyncio.gather(*asking)

    # then each got an answer, and no more were let through than there were tokens
    found = Counter(answer.status for answer in answers)
    assert set(found) <= {LET_THROUGH, TURNED_AWAY, 503}
    assert found[LET_THROUGH] <= CAPACITY
    while (last := await sent(webs[0], DIAGNOSE, ASKED)).status == LET_THROUGH:
        found[LET_THROUGH] += 1
    assert TURNED_AWAY == last.status
    assert found[LET_THROUGH] + found[503] >= CAPACITY >= found[LET_THROUGH]


async def knows(web: RoleProcess) -> bool:
    answer = await sent(web, f"{STATUS}?name=diagnosis", None)
    return bool(answer.json()["capacity"] == CAPACITY)


async def sent(web: RoleProcess, path: str, body: dict[str, Any] | None) -> Answer:
    """The answer to a POST; without a body, to a GET."""
    method = "GET" if body is None else "POST"
    connection = AsyncConnection(HOST, web.port)
    try:
        return await connection.exchange(request_bytes(method, path, email="a@example.com", body=body))
    finally:
        connection.close()


# --- Valkey's buckets ---------------------------------------------------------------------------------


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Any]:
    """A Valkey of this test's own."""
    with Stack(tmp_path) as stack:
        stack.start(services=("valkey",))
        yield stack.valkey


@pytest.fixture
async def webs(servers: Any, valkey: Any) -> AsyncIterator[list[Client]]:
    """Two web processes whose buckets are in it."""
    async with Deployment(await servers.new_topics()) as deployment:
        await deployment.worker()
        limits = LimiterSettings(redis_url=valkey.url)
        yield [await deployment.web(an_owner(), limiter=limits) for _ in range(2)]


async def let_through(web: Client, times: int) -> int:
    """How many of so many requests one after the other were let through."""
    answers = [await web.request("POST", DIAGNOSE, {}) for _ in range(times)]
    assert {answer.status for answer in answers} <= {LET_THROUGH, TURNED_AWAY}
    return sum(answer.status == LET_THROUGH for answer in answers)


async def backend(web: Client) -> str:
    return str((await web.request("GET", f"{STATUS}?name=diagnosis"))["backend"])


async def shared_again(web: Client) -> None:
    async def answers() -> bool:
        return await backend(web) == "redis"

    await until(answers, within=10, what="Valkey's answer")


async def configured(web: Client) -> None:
    body = {"name": "diagnosis", "capacity": 5, "refill_rate": 0}
    assert 200 == (await web.request("POST", f"{STATUS}/config", body)).status


def fallbacks() -> float:
    return (
        REGISTRY.get_sample_value("clustergenie_limiter_backend_errors_total", {"endpoint": "diagnosis"}) or 0
    )


def lost() -> float:
    return REGISTRY.get_sample_value("clusterflow_limiter_lost_buckets_total", {"limiter": "diagnosis"}) or 0


async def test_without_valkey_each_process_goes_on_with_what_it_knew(webs, valkey, caplog):
    # given three of five tokens that both know of, the second process since it took the last
    await configured(webs[0])
    assert 2 == await let_through(webs[0], 2)
    assert 1 == await let_through(webs[1], 1)
    before = fallbacks()
    # when
    valkey.stop()
    # then requests are limited still
    assert (3, 2) == (await let_through(webs[0], 6), await let_through(webs[1], 6))
    assert "local" == await backend(webs[0])
    assert before + 12 == fallbacks()
    said = [record.message for record in caplog.records if record.name == "clusterflow.limiter"]
    assert 2 == len(said)
    # when it is there again, with what it knew
    valkey.start()
    for web in webs:
        await shared_again(web)
    # then its two tokens are shared
    assert 2 == await let_through(webs[0], 3) + await let_through(webs[1], 3)


async def test_a_valkey_that_has_lost_everything_begins_full_and_that_is_told(webs, valkey, caplog):
    # given all tokens taken
    await configured(webs[0])
    assert 5 == await let_through(webs[0], 7)
    before = lost()
    # when
    valkey.stop()
    for file in valkey.dir.glob("appendonlydir/*"):
        file.unlink()
    valkey.start()
    await shared_again(webs[0])
    # then
    assert 5 == await let_through(webs[0], 7)
    assert before + 1 == lost()
    assert "a bucket was lost and began full" in [record.message for record in caplog.records]


@pytest.mark.parametrize(("chosen", "status"), [("deny", TURNED_AWAY), ("allow", LET_THROUGH)])
async def test_operators_may_choose_what_becomes_of_requests(servers, valkey, chosen, status):
    # given
    async with Deployment(await servers.new_topics()) as deployment:
        await deployment.worker()
        limits = LimiterSettings(redis_url=valkey.url, on_redis_error=chosen)
        web = await deployment.web(an_owner(), limiter=limits)
        await configured(web)
        # when
        valkey.stop()
        # then
        answers = [await web.request("POST", DIAGNOSE, {}) for _ in range(7)]
        assert {status} == {answer.status for answer in answers}
