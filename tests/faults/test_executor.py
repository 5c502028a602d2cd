"""kill -9 of an executor in the middle of its work: each task ends, once."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from bench.stage import HOST, RoleProcess, Stage, wait_ready
from bench.wire import AsyncConnection, request_bytes
from streams.topics import Topics
from tests.conftest import until
from tests.e2e.product import headers_of
from tests.faults.reading import records_of

PATH = "/api/v1/tasks"
TASKS = 200
LEASE = 3.0  # seconds
WORKS = 5.0  # seconds that a task takes


@pytest.mark.timeout(180)
async def test_each_task_ends_once_though_its_executor_was_killed(stage: Stage, topics: Topics) -> None:
    # given an executor that is doing all of many tasks
    web, worker, executor = [await started(stage, name) for name in ("web", "worker", "executor")]
    await asyncio.to_thread(wait_ready, web, worker, executor)
    connection = AsyncConnection(HOST, web.port)
    ids = [await asked(connection, number) for number in range(TASKS)]
    await until(lambda: are(connection, ids, "processing"), within=60, what="all of them being done")

    # when it is killed and another comes
    executor.kill()
    await asyncio.to_thread(wait_ready, await started(stage, "executor"))

    # then each of them is completed, within a minute
    await until(lambda: are(connection, ids, "completed"), within=60, what="all of them completed")

    # by its second attempt, and its end was told once
    assert {2} == {(await get(connection, id))["attempt"] for id in ids}
    ends = [
        (json.loads(record.value)["task_id"], headers_of(record)["event_id"], record.value)
        for name in ("task.completed", "task.failed")
        for record in await records_of(stage.bootstrap_servers, topics.of(name))
    ]
    assert sorted(ids) == sorted({id for id, _, _ in ends})
    assert TASKS == len({event_id for _, event_id, _ in ends})
    assert TASKS == len({*ends})


async def started(stage: Stage, role: str) -> RoleProcess:
    """A role whose tasks take long, and whose claims do not hold for long."""
    environment = {
        "TASK_SIMULATED_WORK_MS": f"{WORKS * 1000:.0f}",
        "TASK_LEASE": f"{LEASE:.0f}s",
        "EXECUTOR_TASKS": str(TASKS),
    }
    return await asyncio.to_thread(stage.start, role, environment=environment)


async def asked(connection: AsyncConnection, number: int) -> str:
    """The id of a new task on a resource of its own."""
    body = {"resource_id": f"r-{number}", "action": "resize"}
    answer = await connection.exchange(request_bytes("POST", PATH, email="a@example.com", body=body))
    assert answer.status == 201, answer
    return str(answer.json()["id"])


async def get(connection: AsyncConnection, id: str) -> dict[str, Any]:
    answer = await connection.exchange(request_bytes("GET", f"{PATH}/{id}", email="a@example.com"))
    assert answer.status == 200, answer
    task: dict[str, Any] = answer.json()
    return task


async def are(connection: AsyncConnection, ids: Sequence[str], status: str) -> bool:
    """Whether all tasks have a status."""
    for id in ids:
        if (await get(connection, id))["status"] != status:
            return False
    return True
