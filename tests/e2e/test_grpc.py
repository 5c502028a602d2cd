"""Tasks over gRPC, by a client that is generated from the same .proto (resources contract, section 3)."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc.aio
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import REGISTRY

from rpc.task.service import SERVICE
from rpc.task.v1.task_pb2 import GetTaskStatusRequest, ListTasksRequest, ProcessTaskRequest
from rpc.task.v1.task_pb2_grpc import TaskServiceStub
from tests.conftest import until
from tests.e2e.product import Deployment, headers_of

SERVING, NOT_SERVING = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
)


class Tasks:
    """The service of one process."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.channel = grpc.aio.insecure_channel(address)
        self.stub = TaskServiceStub(self.channel)

    async def process(self, *, metadata: Any = (), **members: Any) -> Any:
        asked = {"resource_id": "r", "action": "resize", **members}
        return await self.stub.ProcessTask(ProcessTaskRequest(**asked), metadata=metadata, timeout=20)

    async def status(self, id: str) -> Any:
        return await self.stub.GetTaskStatus(GetTaskStatusRequest(task_id=id), timeout=20)

    async def list(self, **members: Any) -> Any:
        return await self.stub.ListTasks(ListTasksRequest(**members), timeout=20)


@asynccontextmanager
async def refused(code: StatusCode, text: str = "") -> AsyncIterator[None]:
    """The call within ends with this status."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert (code, True) == (caught.value.code(), text in (caught.value.details() or "")), caught.value


@pytest.fixture(scope="module")
async def place(servers):
    async with Deployment(await servers.new_topics()) as deployment:
        await deployment.worker()
        await deployment.executor()
        yield deployment


@pytest.fixture(scope="module")
async def tasks(place):
    address, _ = await place.grpc()
    yield (tasks := Tasks(address))
    await tasks.channel.close()


@pytest.fixture(scope="module")
async def replica(place):
    """Another process of the same deployment."""
    address, _ = await place.grpc()
    yield (tasks := Tasks(address))
    await tasks.channel.close()


# --- tasks --------------------------------------------------------------------------------------------


async def test_a_task_is_asked_for_and_followed_to_its_end(tasks, place):
    resource_id = str(uuid4())
    asked = await tasks.process(resource_id=resource_id)

    async def done() -> Any:
        found = await tasks.status(asked.task_id)
        return found if found.status == "completed" else None

    found = await until(done, what="the end of the task")
    assert (4, "pending") == (UUID(asked.task_id).version, asked.status)
    assert datetime.now(UTC) - asked.created_at.ToDatetime(UTC) < timedelta(minutes=1)
    assert (asked.task_id, resource_id, "resize", f"Completed resize for resource {resource_id}") == (
        found.task_id, found.resource_id, found.action, found.result,
    )  # fmt: skip
    assert asked.created_at == found.created_at
    assert found.updated_at.ToDatetime() > found.created_at.ToDatetime()
    (queued,) = await place.log("task.process").bodies(resource_id)
    assert asked.task_id == queued["task_id"]


async def test_metadata_reaches_the_queue(tasks, place):
    resource_id = str(uuid4())
    await tasks.process(resource_id=resource_id)
    request = ProcessTaskRequest(resource_id=resource_id, action="resize", metadata={"size": "large"})
    await tasks.stub.ProcessTask(request, timeout=20)
    assert [None, {"size": "large"}] == [
        each.get("metadata") for each in await place.log("task.process").bodies(resource_id)
    ]


async def test_a_task_shows_at_once_in_every_process(tasks, replica):
    for _ in range(20):
        asked = await tasks.process()
        assert asked.task_id == (await replica.status(asked.task_id)).task_id


async def test_the_same_tasks_are_there_over_rest(tasks, place):
    asked = await tasks.process()
    shown = await (await place.web()).get(f"/api/v1/tasks/{asked.task_id}")
    assert (200, asked.task_id) == (shown.status, shown["id"])


async def test_a_repeat_under_one_key_asks_once(tasks, replica):
    key = [("idempotency-key", str(uuid4()))]
    first, again = await tasks.process(metadata=key), await replica.process(metadata=key)
    assert first.task_id == again.task_id
    async with refused(StatusCode.ALREADY_EXISTS):
        await tasks.process(metadata=key, action="other")


async def test_the_trace_of_a_call_goes_into_the_queue(tasks, place):
    resource_id, trace = str(uuid4()), f"00-{uuid4().hex}-00f067aa0ba902b7-01"
    await tasks.process(resource_id=resource_id, metadata=[("traceparent", trace), ("x-request-id", "mine")])
    (queued,) = await place.log("task.process").of(resource_id)
    said = headers_of(queued)
    assert (trace, "mine") == (said["traceparent"], said["request_id"])


# --- refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "members",
    [
        {"resource_id": ""},
        {"resource_id": "r" * 101},
        {"action": ""},
        {"action": "a" * 101},
        {"action": "a\x00"},
        {"resource_id": "r\x00"},
    ],
)
async def test_what_is_out_of_bounds_is_an_invalid_argument(tasks, members):
    async with refused(StatusCode.INVALID_ARGUMENT):
        await tasks.process(**members)


@pytest.mark.parametrize(
    "metadata", [{str(number): "" for number in range(65)}, {"a": "x" * 8192}, {"a": "\x00"}, {"\x00": "a"}]
)
async def test_metadata_out_of_bounds_is_an_invalid_argument(tasks, metadata):
    request = ProcessTaskRequest(resource_id="r", action="a", metadata=metadata)
    async with refused(StatusCode.INVALID_ARGUMENT):
        await tasks.stub.ProcessTask(request, timeout=20)


@pytest.mark.parametrize("key", ["", "k" * 129])
async def test_a_key_out_of_bounds_is_an_invalid_argument(tasks, key):
    async with refused(StatusCode.INVALID_ARGUMENT, "idempotency-key"):
        await tasks.process(metadata=[("idempotency-key", key)])


async def test_an_unknown_task_is_not_found(tasks):
    async with refused(StatusCode.NOT_FOUND):
        await tasks.status(str(uuid4()))


@pytest.mark.parametrize("id", ["", "t" * 101])
async def test_what_is_no_id_is_an_invalid_argument(tasks, id):
    async with refused(StatusCode.INVALID_ARGUMENT, "task_id"):
        await tasks.status(id)


async def test_a_message_that_is_too_large_is_refused(tasks):
    async with refused(StatusCode.RESOURCE_EXHAUSTED):
        await tasks.process(action="a" * 300_000)


async def test_a_call_without_an_answer_in_time_ends_at_its_deadline(servers):
    """No worker decides here; the command lies in its topic, and a repeat under its key would find it."""
    async with Deployment(await servers.new_topics()) as deployment:
        address, _ = await deployment.grpc(command_timeout=timedelta(seconds=1))
        tasks = Tasks(address)
        async with refused(StatusCode.DEADLINE_EXCEEDED, "outcome is unknown"):
            await tasks.process()
        async with refused(StatusCode.DEADLINE_EXCEEDED):
            request = ProcessTaskRequest(resource_id="r", action="a")
            await tasks.stub.ProcessTask(request, timeout=0.3)
        await tasks.channel.close()


# --- lists --------------------------------------------------------------------------------------------


async def test_pages_cover_everything_once_newest_first(tasks):
    ids = [(await tasks.process()).task_id for _ in range(7)]
    found, token = [], ""
    while True:
        page = await tasks.list(page_size=3, page_token=token)
        found += [each.task_id for each in page.tasks]
        await tasks.process()  # a newer one moves no place
        token = page.next_page_token
        if not token or len(found) > 30:
            break
    assert ids[::-1] == [id for id in found if id in ids]
    assert len(found) == len({*found})


@pytest.mark.parametrize(("size", "expected"), [(0, 50), (1, 1), (100, 100), (101, 100), (2**31 - 1, 100)])
async def test_a_page_has_as_many_as_asked_for_up_to_a_hundred(tasks, size, expected):
    while len((await tasks.list(page_size=100)).tasks) < 100:
        await asyncio.gather(*(tasks.process() for _ in range(50)))
    page = await tasks.list(page_size=size)
    assert expected == len(page.tasks)


@pytest.mark.parametrize("members", [{"page_size": -1}, {"page_token": "x"}, {"page_token": "00"}])
async def test_bad_arguments_of_a_page_are_refused(tasks, members):
    async with refused(StatusCode.INVALID_ARGUMENT, next(iter(members))):
        await tasks.list(**members)


# --- health, reflection, metrics ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", SERVICE])
async def test_health_says_that_it_serves(tasks, name):
    stub = health_pb2_grpc.HealthStub(tasks.channel)

    async def serves() -> bool:
        return (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status == SERVING

    await until(serves, what="health")


async def test_health_of_what_is_not_there_is_not_found(tasks):
    async with refused(StatusCode.NOT_FOUND):
        await health_pb2_grpc.HealthStub(tasks.channel).Check(health_pb2.HealthCheckRequest(service="x"))


async def test_a_stopping_process_tells_watchers_and_lets_calls_end(servers):
    async with Deployment(await servers.new_topics()) as deployment:
        address, role = await deployment.grpc()
        tasks = Tasks(address)
        watch = health_pb2_grpc.HealthStub(tasks.channel).Watch(health_pb2.HealthCheckRequest())
        seen = [(await watch.read()).status]
        while seen[-1] != SERVING:
            seen.append((await watch.read()).status)
        # when it is told to stop while a call waits for a worker
        call = asyncio.create_task(tasks.process())
        await asyncio.sleep(0)
        ending = asyncio.create_task(role.end())
        # then watchers learn at once that it does not serve any more, and the call still ends as others do
        seen.append((await watch.read()).status)
        assert [SERVING, NOT_SERVING] == seen[-2:]
        watch.cancel()
        await deployment.worker()
        assert "pending" == (await call).status
        await ending
        await tasks.channel.close()


async def test_clients_may_ask_which_services_there_are(tasks):
    stub = reflection_pb2_grpc.ServerReflectionStub(tasks.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = [answer async for answer in stub.ServerReflectionInfo(iter([request]))]
    names = {each.name for each in answers[0].list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names


async def test_reflection_can_be_turned_off(place):
    address, _ = await place.grpc(reflection=False)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        async with refused(StatusCode.UNIMPLEMENTED):
            _ = [answer async for answer in stub.ServerReflectionInfo(iter([request]))]


async def test_calls_are_counted_by_method_and_status(tasks):
    def handled(code: str) -> float:
        labels = {
            "grpc_type": "unary", "grpc_service": SERVICE, "grpc_method": "GetTaskStatus", "grpc_code": code,
        }  # fmt: skip
        return REGISTRY.get_sample_value("grpc_server_handled_total", labels) or 0.0

    before = handled("NOT_FOUND")
    async with refused(StatusCode.NOT_FOUND):
        await tasks.status(str(uuid4()))
    assert 1 == handled("NOT_FOUND") - before


@pytest.mark.skipif(shutil.which("grpcurl") is None, reason="grpcurl is not installed")
async def test_grpcurl_lists_describes_and_calls(tasks):
    async def grpcurl(*words: str) -> str:
        command = ["grpcurl", "-plaintext", *words]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
        return done.stdout

    assert SERVICE in await grpcurl(tasks.address, "list")
    assert "rpc ProcessTask" in await grpcurl(tasks.address, "describe", SERVICE)
    body = json.dumps({"resourceId": "r", "action": "resize"})
    said = json.loads(await grpcurl("-d", body, tasks.address, f"{SERVICE}/ProcessTask"))
    assert "pending" == said["status"]
