"""Writes while no broker answers, where they may be stored in the outbox (resources contract, OB-15)."""

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import grpc.aio
import pytest

from database import DatabaseSettings
from migrations.apply import migrate
from rpc.task.v1.task_pb2 import ProcessTaskRequest
from rpc.task.v1.task_pb2_grpc import TaskServiceStub
from tests.conftest import Brokers, Servers, until
from tests.e2e.product import Answer, Client, Deployment, headers_of
from tests.faults.outboxes import held, left

RESOURCES = "/api/v1/resources"
TASKS = "/api/v1/tasks"
NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


@pytest.fixture
async def database(servers: Servers) -> str:
    url = await servers.new_database()
    await migrate(url)
    return url


@pytest.fixture
async def product(brokers: Brokers) -> AsyncIterator[Deployment]:
    async with Deployment(await brokers.new_topics()) as deployment:
        yield deployment
        brokers.heal()


def silence(brokers: Brokers) -> None:
    for broker in brokers.stack.brokers:
        broker.pause()


async def post(api: Client, name: str, **headers: str) -> Answer:
    return await api.request("POST", RESOURCES, {"name": name}, headers=headers)


async def shows(api: Client, id: str, name: str) -> None:
    """Wait until a resource has this name."""

    async def named() -> bool:
        answer = await api.get(f"{RESOURCES}/{id}")
        return answer.status == 200 and answer["name"] == name

    await until(named, within=60, what=f"a resource that is called {name}")


@pytest.mark.timeout(180)
async def test_writes_are_stored_while_kafka_is_silent_and_decided_in_order_afterwards(
    product: Deployment, brokers: Brokers, database: str
) -> None:
    # given a resource, and two web processes and one of gRPC with a fallback
    settings = {"database": DatabaseSettings(url=database), "fallback": True}
    worker = await product.worker()
    api, other = [await product.web("a@example.com", **settings) for _ in range(2)]
    address, _ = await product.grpc(fallback=DatabaseSettings(url=database))
    there = (await post(api, "there"))["id"]
    await shows(other, there, "there")
    await worker.end()

    # when no broker answers
    silence(brokers)
    created = await post(api, "one", **{"Idempotency-Key": "k"})
    id = created["id"]

    # then a create is answered with 202, and what it will be
    assert (202, "one", f"{RESOURCES}/{id}") == (created.status, created["name"], created.headers["Location"])
    assert "ETag" not in created.headers

    # and a repeat of it is the same one
    assert (202, id) == ((again := await post(api, "one", **{"Idempotency-Key": "k"})).status, again["id"])

    # and what follows is judged by what is stored already, in any process
    updated = await other.request("PUT", f"{RESOURCES}/{id}", {"name": "two"})
    assert (202, "two", created["created_at"]) == (updated.status, updated["name"], updated["created_at"])
    assert 202 == (await other.request("PUT", f"{RESOURCES}/{there}", {"name": "changed"})).status
    assert 400 == (await post(api, "")).status
    assert 404 == (await api.request("PUT", f"{RESOURCES}/{uuid4()}", {"name": "two"})).status
    assert (
        412
        == (
            await api.request("PUT", f"{RESOURCES}/{there}", {"name": "no"}, headers={"If-Match": '"7"'})
        ).status
    )
    gone = (await post(api, "gone"))["id"]
    deleted = await api.request("DELETE", f"{RESOURCES}/{gone}")
    assert (202, b"") == (deleted.status, deleted.body)
    assert 404 == (await api.request("DELETE", f"{RESOURCES}/{gone}")).status
    assert 202 == (await api.request("POST", TASKS, {"resource_id": id, "action": "resize"})).status
    async with grpc.aio.insecure_channel(address) as channel:
        asked = ProcessTaskRequest(resource_id=id, action="resize")
        task = await TaskServiceStub(channel).ProcessTask(asked, timeout=20)
    assert "pending" == task.status

    # and lists show what is decided
    assert [there] == [each["id"] for each in (await api.get(RESOURCES)).json]

    # and once Kafka is back, everything is decided in its order
    brokers.heal()
    await product.worker()
    await product.relay(database)
    await shows(api, id, "two")
    await shows(other, there, "changed")
    await product.log("resource.deleted").wait_for(gone)
    records = await product.log("resource.created").of(id)
    assert ["1"] == [headers_of(record)["aggregate_version"] for record in records]
    asked_for = [headers_of(record)["event_id"] for record in await product.log("task.process").of(id)]
    assert 2 <= len({*asked_for})


@pytest.mark.timeout(120)
async def test_while_rows_of_an_entity_wait_its_writes_go_behind_them(
    product: Deployment, brokers: Brokers, database: str
) -> None:
    # given an update that is stored, and a Kafka that is back, while no relay has come yet
    await product.worker()
    api = await product.web("a@example.com", database=DatabaseSettings(url=database), fallback=True)
    id, free = (await post(api, "one"))["id"], (await post(api, "free"))["id"]
    async with held(database):
        await insert_update(database, id)

        # when it is written once more
        behind = await api.request("PUT", f"{RESOURCES}/{id}", {"name": "three"})

        # then that goes behind the row, and writes of others do not
        assert (202, "three") == (behind.status, behind["name"])
        assert 200 == (await api.request("PUT", f"{RESOURCES}/{free}", {"name": "two"})).status
        assert {id: 2} == await left(database)
        await product.relay(database)
    await shows(api, id, "three")

    async def direct() -> bool:
        return (await api.request("PUT", f"{RESOURCES}/{id}", {"name": "four"})).status == 200

    await until(direct, what="a write that Kafka takes")


async def insert_update(database: str, id: str) -> None:
    """A row that another program commits."""
    connection = await asyncpg.connect(database)
    try:
        await connection.execute(
            "INSERT INTO outbox_events (aggregate_id, event_type, payload)"
            " VALUES ($1, 'resource.updated', jsonb_build_object('id', $2::text, 'name', 'two'))",
            id,
            id,
        )
    finally:
        await connection.close()


@pytest.mark.timeout(120)
async def test_without_kafka_and_postgres_a_write_is_refused_and_without_postgres_alone_it_is_not(
    product: Deployment, brokers: Brokers
) -> None:
    # given a fallback that does not answer
    await product.worker()
    api = await product.web("a@example.com", database=DatabaseSettings(url=NOWHERE), fallback=True)

    # when Kafka answers, then writes do as ever
    assert 201 == (await post(api, "one")).status

    # when it does not either, then they are refused
    silence(brokers)
    answer = await post(api, "two")
    assert (503, "unavailable") == (answer.status, answer["code"])
    assert "Retry-After" in answer.headers
