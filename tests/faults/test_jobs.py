"""kill -9 of executors and the worker in the middle of jobs: each job ends, once, and makes one droplet."""

import asyncio
import json
from collections import Counter
from typing import Any, Final

import pytest

from bench.stage import HOST, RoleProcess, Stage, wait_ready
from bench.wire import AsyncConnection, request_bytes
from streams.topics import Topics
from tests.conftest import until
from tests.faults.reading import records_of

JOBS: Final = 60
ENDED: Final = ("job.completed", "job.failed", "job.cancelled")
SETTINGS: Final = {
    "DROPLET_PROVISION_SECONDS": "0.5",
    "JOB_LEASE_SECONDS": "3",
    "CLUSTERGENIE_WORKER_COUNT": "10",
    "EXECUTOR_KINDS": "job",
    "CLUSTERGENIE_JOBS_CAP": "1000",
}


@pytest.mark.timeout(180)
async def test_each_job_ends_once_though_executors_are_killed(stage: Stage, topics: Topics) -> None:
    # given a cluster, and jobs of which some are being done
    web, worker, executor = [await started(stage, name) for name in ("web", "worker", "executor")]
    await asyncio.to_thread(wait_ready, web, worker, executor)
    connection = AsyncConnection(HOST, web.port)
    cluster = (await answered(connection, "POST", "/genie/api/v1/clusters", {"name": "c", "region": "nyc3"}))[
        "cluster"
    ]["id"]
    body = {"type": "provision", "parameters": {"cluster_id": cluster}}
    ids = [(await answered(connection, "POST", "/api/v1/jobs", body))["job"]["id"] for _ in range(JOBS)]

    # when executors die in the middle of it, and the worker
    for name, victim in (("executor", executor), ("worker", worker)):
        await until(lambda: doing(connection), within=60, what="jobs being done")
        victim.kill()
        await asyncio.to_thread(wait_ready, await started(stage, name))

    # then all are completed
    async def all_completed() -> bool:
        path = "/api/v1/jobs?status=completed&page_size=1"
        return bool((await answered(connection, "GET", path))["total"] == JOBS)

    await until(all_completed, within=120, what="all of them completed")

    # and each has ended once, with one droplet, though some were begun again
    events = [
        json.loads(r.value) for r in await records_of(stage.bootstrap_servers, topics.of("cluster-events"))
    ]
    ends = {event["event_id"]: event["job_id"] for event in events if event["type"] in ENDED}
    assert dict.fromkeys(ids, 1) == Counter(ends.values())
    created = {event["droplet"]["id"] for event in events if event["type"] == "droplet.created"}
    assert JOBS == len(created)
    begun = {event["event_id"] for event in events if event["type"] == "job.started"}
    assert len(begun) > JOBS


async def doing(connection: AsyncConnection) -> bool:
    """Whether some jobs are being done, and others wait."""
    pool = await answered(connection, "GET", "/api/v1/observability/workerpool")
    return bool(pool["active_workers"] > 2 and pool["queue_length"] > 2)


async def started(stage: Stage, role: str) -> RoleProcess:
    """A role that does jobs quickly, and whose claims do not hold for long."""
    return await asyncio.to_thread(stage.start, role, environment=SETTINGS)


async def answered(
    connection: AsyncConnection, method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    answer = await connection.exchange(request_bytes(method, path, email="a@example.com", body=body))
    assert answer.status in (200, 201), answer
    found: dict[str, Any] = answer.json()
    return found
