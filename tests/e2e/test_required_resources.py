"""`TASK_REQUIRE_RESOURCE`: a task is of a resource that exists (resources contract, section 3)."""

from uuid import uuid4

import grpc.aio
import pytest
from grpc import StatusCode

from rpc.task.v1.task_pb2 import ProcessTaskRequest
from rpc.task.v1.task_pb2_grpc import TaskServiceStub
from tests.e2e.product import Client, Deployment

RESOURCES = "/api/v1/resources"
TASKS = "/api/v1/tasks"


@pytest.fixture(scope="module")
async def strict(product: Deployment) -> Client:
    """REST of a process that asks for resources."""
    return await product.web("a@example.com", require_resource=True)


@pytest.fixture(scope="module")
async def address(product: Deployment) -> str:
    """The same of gRPC."""
    address, _ = await product.grpc(require_resource=True)
    return address


async def ask(api: Client, resource_id: str, key: str = "") -> tuple[int, str | None]:
    """Ask for a task over REST; return the status, and the code or the id of the task."""
    headers = {"Idempotency-Key": key} if key else {}
    body = {"resource_id": resource_id, "action": "resize"}
    answer = await api.request("POST", TASKS, body, headers=headers)
    return answer.status, answer.json.get("code") or answer.json.get("id")


async def call(address: str, resource_id: str, key: str = "") -> str:
    """Ask for a task over gRPC; return its id."""
    metadata = [("idempotency-key", key)] if key else []
    async with grpc.aio.insecure_channel(address) as channel:
        request = ProcessTaskRequest(resource_id=resource_id, action="resize")
        reply = await TaskServiceStub(channel).ProcessTask(request, timeout=20, metadata=metadata)
    return reply.task_id


async def created(api: Client) -> str:
    answer = await api.request("POST", RESOURCES, {"name": "one"})
    assert answer.status == 201, answer
    return answer["id"]


async def test_a_task_of_a_resource_that_was_just_created_elsewhere_is_taken(
    strict: Client, address: str, api: Client
) -> None:
    assert 201 == (await ask(strict, await created(api)))[0]
    assert await call(address, await created(api))


@pytest.mark.parametrize("deleted", [False, True], ids=["never there", "deleted"])
async def test_a_task_of_no_resource_is_not_found(
    strict: Client, address: str, api: Client, deleted: bool
) -> None:
    # given a resource that does not exist
    id = str(uuid4())
    if deleted:
        id = await created(api)
        assert 204 == (await api.request("DELETE", f"{RESOURCES}/{id}")).status

    # when a task of it is asked for, then it is refused, and names the resource
    assert (404, "not_found") == await ask(strict, id)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(address, id)
    assert StatusCode.NOT_FOUND == refused.value.code()
    assert f"There is no resource {id}" in (refused.value.details() or "")

    # and where nobody asks for resources, it is taken
    assert 201 == (await ask(api, id))[0]


async def test_a_repeat_gets_the_first_answer_though_the_resource_is_gone(
    strict: Client, address: str, api: Client
) -> None:
    # given a task of a resource, under a key, and the resource deleted since
    id, key = await created(api), str(uuid4())
    first = await ask(strict, id, key)
    assert 204 == (await api.request("DELETE", f"{RESOURCES}/{id}")).status

    # when it is asked for again, over either API, then it is the same task
    assert first == await ask(strict, id, key)
    assert first[1] == await call(address, id, key)


async def test_what_is_out_of_bounds_is_told_first(strict: Client) -> None:
    assert (400, "validation_failed") == await ask(strict, "")
