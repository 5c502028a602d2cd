"""kill -9 of one role in the middle of writes: once it is back, each cluster is there exactly once.

The moment of the kill is when some of many concurrent creates are answered and others are not, so writes are
under way at every point between the request and the row.
"""

import asyncio
import random

import pytest

from bench.stage import HOST, Stage, wait_ready
from bench.wire import AsyncConnection
from streams.topics import Topics
from tests.chaos.check import check
from tests.chaos.clients import HttpClient
from tests.chaos.history import History
from tests.chaos.observe import Observed
from tests.chaos.run import settle
from tests.conftest import until

CLIENTS = 24


@pytest.mark.timeout(120)
@pytest.mark.parametrize("killed", ["worker", "web", "sink"])
async def test_a_cluster_is_there_once_after_a_kill_during_its_creation(
    stage: Stage, topics: Topics, killed: str
) -> None:
    # given all roles, and clients that each create a cluster and try again until they know the outcome
    roles = {name: await asyncio.to_thread(stage.start, name) for name in ("web", "worker", "sink")}
    await asyncio.to_thread(wait_ready, *roles.values())
    history = History()
    creates = [
        asyncio.create_task(_client(number, roles["web"].port, history).create()) for number in range(CLIENTS)
    ]

    # when one role is killed while some are answered, and started again
    async def some_are_answered() -> bool:
        return history.count("applied") > CLIENTS // 4

    await until(some_are_answered, what="a quarter of the creates answered")
    roles[killed].kill()
    restarted = await asyncio.to_thread(stage.start, killed, port=roles[killed].port)
    await asyncio.to_thread(wait_ready, restarted)
    await asyncio.gather(*creates)

    # then each has one event, one state, one row, and is shown by the old and a fresh web
    observed = Observed()
    await settle(stage, history, observed, topics, end_workers=lambda: _end_workers(stage))
    assert check(history, observed) == []
    assert len([state for state in observed.states.values() if not state.deleted]) == CLIENTS
    assert observed.rows is not None
    assert len(observed.rows) == CLIENTS


async def _end_workers(stage: Stage) -> None:
    for role in stage.running("worker"):
        await asyncio.to_thread(role.stop)


def _client(number: int, port: int, history: History) -> HttpClient:
    return HttpClient(f"client-{number}", [AsyncConnection(HOST, port)], history, random.Random(number), [])
