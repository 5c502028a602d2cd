"""From a request through the log to its rows: one write is followed by its trace into what was recorded."""

import asyncio
from uuid import uuid4

import asyncpg
import pytest

from database import DatabaseSettings
from migrations import migrate
from sinks import recorder
from streams.settings import RECORDER_GROUP
from tests.conftest import until
from tests.e2e.product import Deployment

ROWS = "SELECT event_type, resource_id, task_id, action FROM processed_events WHERE trace_id = $1"


@pytest.fixture
async def place(servers):
    url = await servers.new_database()
    await migrate(url)
    async with Deployment(await servers.new_topics()) as deployment:
        settings = recorder.RecorderSettings(
            kafka=deployment.kafka,
            database=DatabaseSettings(url=url),
            group_id=deployment.kafka.topics.prefix + RECORDER_GROUP,
        )
        stop = asyncio.Event()
        recording = asyncio.create_task(recorder.run(settings, stop=stop))
        connection = await asyncpg.connect(url)
        yield deployment, connection
        await connection.close()
        stop.set()
        await asyncio.wait_for(recording, 20)


async def test_a_write_is_followed_by_its_trace_into_the_rows_of_all_that_came_of_it(place):
    # given every role that a write passes
    deployment, database = place
    await deployment.worker()
    await deployment.executor()
    client = await deployment.web()

    # when a resource is created within a trace
    trace = uuid4().hex
    headers = {"traceparent": f"00-{trace}-{uuid4().hex[:16]}-01"}
    said = await client.request("POST", "/api/v1/resources", {"name": "traced"}, headers=headers)
    assert 201 == said.status
    id = said.json["id"]

    # then its rows show what was announced, in one trace
    async def all_three() -> list[tuple[str, ...]]:
        rows = sorted(map(tuple, await database.fetch(ROWS, trace)))
        return rows if len(rows) == 3 else []

    auto, action = f"auto-{id}", "process_new_resource"
    assert [
        ("resource.created", id, None, "created"),
        ("task.completed", id, auto, action),
        ("task.process", id, auto, action),
    ] == await until(all_three, what="three rows of one trace")
