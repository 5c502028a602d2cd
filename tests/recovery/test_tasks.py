"""Tasks in a new Kafka, after the old one was lost (resources contract, DR-3)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from database import DatabaseSettings
from migrations import migrate
from recovery import RecoverySettings, rebuild
from sinks import SinkSettings
from sinks import run as run_sink
from streams.settings import SINK_GROUP, KafkaSettings
from tests.conftest import Servers, until
from tests.e2e.product import Client, Deployment, headers_of

TASKS = "/api/v1/tasks"


@asynccontextmanager
async def stored(kafka: KafkaSettings, database: DatabaseSettings) -> AsyncIterator[None]:
    """A sink at work."""
    settings = SinkSettings(kafka=kafka, database=database, group_id=kafka.topics.prefix + SINK_GROUP)
    stop = asyncio.Event()
    sink = asyncio.create_task(run_sink(settings, stop=stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(sink, 20)


async def asked(api: Client, resource_id: str) -> str:
    answer = await api.request("POST", TASKS, {"resource_id": resource_id, "action": "resize"})
    assert answer.status == 201, answer
    return answer["id"]


@pytest.mark.timeout(120)
async def test_a_queued_task_is_queued_again_and_an_ended_one_is_not(servers: Servers) -> None:
    # given a task that is completed, and one that is queued, both stored
    database = DatabaseSettings(url=await servers.new_database())
    await migrate(database.url)
    lost, new = await servers.new_topics(), await servers.new_topics()
    async with Deployment(lost) as product, stored(lost, database):
        await product.worker()
        api = await product.web("a@example.com")
        executor = await product.executor()
        ended = await asked(api, "r-ended")
        await product.log("task.completed").wait_for("r-ended")
        await executor.end()
        queued = await asked(api, "r-queued")
        (before,) = await product.log("task.process").of("r-queued")

        async def both() -> bool:
            found = await counts(database)
            return found == {"completed": 1, "pending": 1}

        await until(both, what="both rows")
        await insert(database)

    # when Kafka is lost, and a new one is filled from them
    await rebuild(RecoverySettings(kafka=new, database=database))

    # then the queued one is done there, under the id that it was queued by, the other stays as it was, and a
    # row of the outbox that was not published yet is
    async with Deployment(new) as product:
        await product.worker()
        api = await product.web("a@example.com")
        await product.executor()
        await product.log("task.completed").wait_for("r-queued")
        (again,) = await product.log("task.process").of("r-queued")
        assert headers_of(before)["event_id"] == headers_of(again)["event_id"]
        assert "true" == headers_of(again)["replay"]
        assert [] == await product.log("task.process").of("r-ended")
        await product.relay(database.url)
        await product.log("resource.created").wait_for("r-row")
        for id in (ended, queued):
            answer = await api.get(f"{TASKS}/{id}")
            assert ("completed", 1) == (answer["status"], answer["attempt"])


async def insert(database: DatabaseSettings) -> None:
    """A row of a program that nobody has relayed yet."""
    connection = await asyncpg.connect(database.url)
    try:
        await connection.execute(
            "INSERT INTO outbox_events (aggregate_id, event_type, payload)"
            """ VALUES ('r-row', 'resource.created', '{"id": "r-row", "name": "one"}')"""
        )
    finally:
        await connection.close()


async def counts(database: DatabaseSettings) -> dict[str, int]:
    """How many rows of tasks there are by status."""
    connection = await asyncpg.connect(database.url)
    try:
        return dict(await connection.fetch("SELECT status, count(*) FROM tasks GROUP BY status"))
    finally:
        await connection.close()
