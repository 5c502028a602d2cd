"""kill -9 of one role in the middle of writes: once it is back, each of them is there exactly once.

The moment of the kill is when some of many concurrent creates of clusters are answered and others are not,
and clients of resources write one after the other all the time. So writes are under way at every point
between the request and the row.
"""

import asyncio
import random

import asyncpg
import pytest

from bench.stage import HOST, RoleProcess, Stage, wait_ready
from bench.wire import AsyncConnection
from streams.topics import Topics
from tests.chaos.check import check
from tests.chaos.clients import HttpClient
from tests.chaos.history import History
from tests.chaos.observe import Observed
from tests.chaos.resources import ResourceHistory, check_resources
from tests.chaos.resources import clients as resource_clients
from tests.chaos.run import seen_resources, settle
from tests.conftest import until

CLIENTS = 24
RESOURCES = 8  # clients that write resources


@pytest.mark.timeout(120)
@pytest.mark.parametrize("killed", ["worker", "web", "sink"])
async def test_each_write_is_there_once_after_a_kill(stage: Stage, topics: Topics, killed: str) -> None:
    # given all roles, clients that write resources all the time, and others that each create a cluster and
    # try again until they know the outcome
    roles = {name: await asyncio.to_thread(stage.start, name) for name in ("web", "worker", "sink")}
    await asyncio.to_thread(wait_ready, *roles.values())
    port, stop = roles["web"].port, asyncio.Event()
    history, resources = History(), ResourceHistory()
    clients = resource_clients(RESOURCES, [(HOST, port)], resources, random.Random(1))
    writers = [asyncio.create_task(client.run(stop)) for client in clients]

    async def all_write() -> bool:
        return len(resources.resources) > RESOURCES

    await until(all_write, what="resources of all clients")
    creates = [asyncio.create_task(_client(number, port, history).create()) for number in range(CLIENTS)]

    # when one role is killed while some are answered, and started again
    async def some_are_answered() -> bool:
        return history.count("applied") > CLIENTS // 4

    await until(some_are_answered, what="a quarter of the creates answered")
    await _killed_and_started(stage, roles[killed])
    stop.set()
    await asyncio.gather(*creates, *writers)

    # then each has one event, one state, one row, and is shown by the old and a fresh web
    observed = Observed()
    await settle(stage, history, observed, topics, end_workers=lambda: _end_workers(stage))
    assert check(history, observed) == []
    assert len([state for state in observed.states.values() if not state.deleted]) == CLIENTS
    assert observed.rows is not None
    assert len(observed.rows) == CLIENTS
    seen = await seen_resources(stage, topics)
    assert check_resources(resources, seen) == []
    assert await _versions_of_rows(stage) == {
        id: state["version"] for id, state in seen.states.items() if state["deleted_at"] is None
    }


async def _killed_and_started(stage: Stage, role: RoleProcess) -> None:
    role.kill()
    restarted = await asyncio.to_thread(stage.start, role.name, port=role.port)
    await asyncio.to_thread(wait_ready, restarted)


async def _versions_of_rows(stage: Stage) -> dict[str, int]:
    """By resource; what else its row holds was compared by `verify`, which `settle` has run."""
    connection = await asyncpg.connect(stage.database_url)
    try:
        rows = await connection.fetch("SELECT id, version FROM resources")
        return {str(row["id"]): row["version"] for row in rows}
    finally:
        await connection.close()


async def _end_workers(stage: Stage) -> None:
    for role in stage.running("worker"):
        await asyncio.to_thread(role.stop)


def _client(number: int, port: int, history: History) -> HttpClient:
    return HttpClient(f"client-{number}", [AsyncConnection(HOST, port)], history, random.Random(number), [])
