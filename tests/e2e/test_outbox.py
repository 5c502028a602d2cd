"""The outbox: rows that other programs commit become records, in order (resources contract, section 5.3)."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from domain.errors import PermanentError
from migrations.apply import migrate
from streams.kafka.topic_ids import topic_ids
from tests.chaos.observe import all_records
from tests.conftest import Servers, until
from tests.e2e.product import Client, Deployment, headers_of

INSERT = (
    "INSERT INTO outbox_events (id, aggregate_id, event_type, payload, headers) VALUES ($1, $2, $3, $4, $5)"
)
ROW = "SELECT processed_at, parked_at, attempts, last_error FROM outbox_events WHERE id = $1"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
RESOURCES_PATH = "/api/v1/resources"
TASKS_PATH = "/api/v1/tasks"


class Application:
    """A program of somebody else that writes into the database."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def says(
        self,
        event_type: str,
        aggregate_id: str,
        payload: Any,
        *,
        id: str | None = None,
        headers: dict[str, Any] | None = None,
    ) -> str:
        """Insert a row; return its id."""
        id = id or str(uuid4())
        told = None if headers is None else json.dumps(headers)
        await self.connection.execute(INSERT, id, aggregate_id, event_type, json.dumps(payload), told)
        return id

    async def row(self, id: str) -> asyncpg.Record:
        found = await self.connection.fetchrow(ROW, id)
        assert found is not None
        return found

    async def until_done(self, *ids: str) -> None:
        """Wait until rows are published or parked."""

        async def done() -> bool:
            return all([any((await self.row(id))[:2]) for id in ids])

        await until(done, what="rows that are published or parked")


@pytest.fixture(scope="module")
async def database(servers: Servers) -> str:
    url = await servers.new_database()
    await migrate(url)
    return url


@pytest.fixture(scope="module")
async def relay(product: Deployment, database: str) -> None:
    await product.relay(database)


@pytest.fixture
async def application(database: str, relay: None) -> AsyncIterator[Application]:
    connection = await asyncpg.connect(database)
    yield Application(connection)
    await connection.close()


def a_resource(**members: Any) -> tuple[str, dict[str, Any]]:
    """The id and the payload of a resource that nobody else writes."""
    id = f"res-{uuid4()}"
    return id, {"id": id, "name": "one", "description": "", "status": "active", **members}


async def events_of(product: Deployment, *ids: str) -> Sequence[tuple[str, str]]:
    """The types and ids of the public events of resources."""
    return [
        (headers_of(record)["event_type"], headers_of(record)["event_id"])
        for how in ("created", "updated", "deleted")
        for id in ids
        for record in await product.log(f"resource.{how}").of(id)
    ]


async def test_rows_of_resources_are_written_by_their_owner_and_announced_under_their_ids(
    product: Deployment, application: Application, api: Client
) -> None:
    # given a row that creates a resource, in a trace
    id, payload = a_resource()
    created = await application.says("resource.created", id, payload, headers={"traceparent": TRACE})

    # when it is relayed
    event = await product.log("resource.created").wait_for(id)
    (record,) = await product.log("resource.created").of(id)

    # then the event has the id of the row and its trace, and the API shows the resource
    headers = headers_of(record)
    assert (created, "1", TRACE) == tuple(
        headers[name] for name in ("event_id", "aggregate_version", "traceparent")
    )
    assert payload["name"] == event["name"]

    async def shown() -> bool:
        return (await api.get(f"{RESOURCES_PATH}/{id}")).status == 200

    await until(shown, what="the resource")

    # and a later update and a delete follow in their order
    updated = await application.says("resource.updated", id, {**payload, "name": "two"})
    deleted = await application.says("resource.deleted", id, {"id": id, "status": "deleted"})
    await product.log("resource.deleted").wait_for(id)
    assert [
        ("resource.created", created),
        ("resource.updated", updated),
        ("resource.deleted", deleted),
    ] == await events_of(product, id)


async def test_created_for_a_known_id_and_updated_for_an_unknown_one_write_it_all_the_same(
    product: Deployment, application: Application
) -> None:
    # given a row that updates what nobody knows, one that creates it, and one that deletes the unknown
    id, payload = a_resource()
    unknown, _ = a_resource()
    first = await application.says("resource.updated", id, payload)
    second = await application.says("resource.created", id, {**payload, "name": "two"})
    nothing = await application.says("resource.deleted", unknown, {"id": unknown})

    # when they are relayed
    await product.log("resource.updated").wait_for(id)
    await application.until_done(first, second, nothing)

    # then the first has created it, the second has updated it, and the third has changed nothing
    assert [("resource.created", first), ("resource.updated", second)] == await events_of(product, id)
    result = await product.log("command-results").wait_for(unknown)
    assert ("rejected", "RESOURCE_NOT_FOUND") == (result["outcome"], result["code"])
    assert [] == await events_of(product, unknown)


async def test_a_deleted_resource_may_be_created_again_by_a_row(
    product: Deployment, application: Application
) -> None:
    id, payload = a_resource()
    rows = [
        await application.says("resource.created", id, payload),
        await application.says("resource.deleted", id, {"id": id}),
        await application.says("resource.created", id, {**payload, "name": "again"}),
    ]
    await product.log("resource.created").wait_for(id, lambda body: body["name"] == "again")
    assert sorted(rows) == sorted(event_id for _, event_id in await events_of(product, id))
    created = await product.log("resource.created").of(id)
    assert ["1", "3"] == [headers_of(record)["aggregate_version"] for record in created]


async def test_rows_ask_for_tasks_and_end_them(
    product: Deployment, application: Application, api: Client
) -> None:
    # given a row that asks for a task
    task, resource = f"task-{uuid4()}", f"res-{uuid4()}"
    asked = await application.says(
        "task.process", resource, {"task_id": task, "resource_id": resource, "action": "resize"}
    )
    await product.log("task.process").wait_for(resource)
    (queued,) = await product.log("task.process").of(resource)
    assert (asked, task) == (headers_of(queued)["event_id"], json.loads(queued.value)["task_id"])

    # when its handler has committed its end, twice, and differently
    ended = {"task_id": task, "resource_id": resource, "action": "resize"}
    completed = await application.says("task.completed", resource, {**ended, "result": "large"})
    failed = await application.says("task.failed", resource, {**ended, "error": "too late"})
    await product.log("task.completed").wait_for(resource)
    await application.until_done(completed, failed)

    # then it has ended once, as the first row says
    result = await product.log("command-results").wait_for(task, lambda body: body["command_id"] == failed)
    assert "WORK_ENDED" == result["code"]
    (end,) = await product.log("task.completed").of(resource)
    assert completed == headers_of(end)["event_id"]
    assert [] == await product.log("task.failed").of(resource)
    answer = await api.get(f"{TASKS_PATH}/{task}")
    assert ("completed", "large") == (answer["status"], answer["result"])


@pytest.mark.parametrize(
    ("event_type", "change", "why"),
    [
        ("resource.created", {"payload": {"name": "one"}}, "id is required"),
        ("resource.created", {"payload": {"id": "other", "name": "one"}}, "aggregate_id"),
        ("resource.created", {"name": ""}, "name must have"),
        ("resource.created", {"status": "strange"}, "status must be one of"),
        ("resource.created", {"id": "with a blank"}, "id is not one of the values"),
        ("resource.created", {"headers": {"traceparent": 5}}, "headers must be"),
        ("resource.created", {"headers": {"a": "b" * 2000}}, "headers must be"),
        ("resource.created", {"row": "an id"}, "command_id"),
        ("resource.created", {"payload": [1, 2]}, "must be an object"),
        ("resource.created", {"description": "d" * 3_000_000}, "description must have"),
        ("order.created", {}, "OUTBOX_ALLOWED_TYPES"),
        ("resource-state", {}, "OUTBOX_ALLOWED_TYPES"),
        pytest.param("members.commands", {}, "OUTBOX_ALLOWED_TYPES", id="commands between kinds"),
    ],
)
async def test_what_can_never_be_published_is_parked_with_the_reason_and_holds_up_nobody(
    product: Deployment, application: Application, event_type: str, change: dict[str, Any], why: str
) -> None:
    # given a row that is wrong, and a right one of the same aggregate after it
    id, payload = a_resource()
    headers, row = change.pop("headers", None), change.pop("row", None)
    wrong = await application.says(
        event_type,
        id,
        change.pop("payload", {**payload, **change}),
        id=row and f"{row} {uuid4()}",
        headers=headers,
    )
    right = await application.says("resource.created", id, payload)

    # when both were tried
    await application.until_done(wrong, right)

    # then the wrong one is parked, with the reason, and the right one is published
    assert (await application.row(right))["processed_at"] is not None
    parked = await application.row(wrong)
    assert parked["parked_at"] is not None
    assert parked["processed_at"] is None
    assert why in parked["last_error"]
    await product.log("resource.created").wait_for(id)
    assert [("resource.created", right)] == await events_of(product, id)


async def test_a_row_that_was_mended_is_published_when_it_is_not_parked_any_more(
    product: Deployment, application: Application
) -> None:
    id, payload = a_resource()
    wrong = await application.says("resource.created", id, {**payload, "status": "strange"})
    await application.until_done(wrong)
    await application.connection.execute(
        "UPDATE outbox_events SET parked_at = NULL, payload = payload || $2 WHERE id = $1",
        wrong,
        json.dumps({"status": "active"}),
    )
    await product.log("resource.created").wait_for(id)
    assert [("resource.created", wrong)] == await events_of(product, id)


async def test_rows_of_a_transaction_that_commits_late_are_not_passed_over(
    product: Deployment, database: str, application: Application
) -> None:
    # given a transaction that has drawn its number and is not committed
    late, payload = a_resource()
    other = await asyncpg.connect(database)
    transaction = other.transaction()
    await transaction.start()
    await Application(other).says("resource.created", late, payload)

    # when a row with a later number is published before
    early, of_early = a_resource()
    await application.says("resource.created", early, of_early)
    await product.log("resource.created").wait_for(early)
    await transaction.commit()
    await other.close()

    # then the first is published as well
    await product.log("resource.created").wait_for(late)


async def test_a_payload_that_no_record_can_hold_is_parked_without_being_read(
    application: Application,
) -> None:
    id, payload = a_resource(description="d" * 9_000_000)
    wrong = await application.says("resource.created", id, payload)
    await application.until_done(wrong)
    assert "larger than" in (await application.row(wrong))["last_error"]


async def test_published_rows_are_deleted_at_the_end_of_their_retention(
    product: Deployment, servers: Servers
) -> None:
    url = await servers.new_database()
    await migrate(url)
    connection = await asyncpg.connect(url)
    try:
        for age in (6, 8):
            await connection.execute(
                "INSERT INTO outbox_events (aggregate_id, event_type, payload, processed_at)"
                " VALUES ('a', 'resource.deleted', '{}', now() - $1::interval)",
                timedelta(days=age),
            )
        role = await product.relay(url)

        async def left() -> bool:
            return await connection.fetchval("SELECT count(*) FROM outbox_events") == 1

        await until(left, what="the older row deleted")
        await role.end()
    finally:
        await connection.close()


async def test_a_standby_takes_over_within_ten_seconds_of_a_relay_that_stops(
    product: Deployment, servers: Servers
) -> None:
    # given two relays of one database, of which one leads
    url = await servers.new_database()
    await migrate(url)
    connection = await asyncpg.connect(url)
    application = Application(connection)
    try:
        first = await product.relay(url)
        second = await product.relay(url)
        id, payload = a_resource()
        await application.until_done(await application.says("resource.created", id, payload))

        # when the first is stopped
        await first.end()
        row = await application.says("resource.updated", id, {**payload, "name": "two"})

        # then the second publishes
        async with asyncio.timeout(10):
            await application.until_done(row)
        await second.end()
    finally:
        await connection.close()


async def test_a_type_that_is_no_topic_stops_the_start(product: Deployment, database: str) -> None:
    with pytest.raises(PermanentError, match=r"order\.created: OUTBOX_ALLOWED_TYPES"):
        await product.relay(database, allowed=["order.created"])


async def test_a_row_that_the_brokers_refuse_is_parked_and_the_others_keep_their_order(
    product: Deployment, servers: Servers
) -> None:
    # given a topic of somebody else that takes short records alone
    kafka = await servers.new_topics()
    topic = f"{kafka.topics.prefix}order.placed"
    admin = AIOKafkaAdminClient(**kafka.client("test"))
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "2000"})])
    await admin.close()

    async def known() -> bool:
        return bool(await topic_ids(kafka, [topic]))

    await until(known, what="a topic that the broker knows")
    url = await servers.new_database()
    await migrate(url)
    connection = await asyncpg.connect(url)
    application = Application(connection)
    try:
        # when one of many rows is longer
        async with connection.transaction():
            ids = [
                await application.says("order.placed", f"a-{number % 3}", {"text": length * "x"})
                for number, length in enumerate([5, 5, 5, 5000, 5, 5, 5, 5, 5])
            ]
        async with Deployment(kafka) as deployment:
            await deployment.relay(url, allowed=["order.placed"], batch=3)
            await application.until_done(*ids)

        # then it is parked, and the others are there in the order of their aggregates
        assert [ids[3]] == [id for id in ids if (await application.row(id))["parked_at"] is not None]
        published = [
            headers_of(record)["event_id"] async for record in all_records(kafka.bootstrap_servers, topic)
        ]
        good = [id for id in ids if id != ids[3]]
        assert {*good} == {*published}
        for aggregate in range(3):
            mine = [id for number, id in enumerate(ids) if number % 3 == aggregate and id in good]
            assert mine == [*dict.fromkeys(id for id in published if id in mine)]
    finally:
        await connection.close()
