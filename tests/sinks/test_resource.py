"""Resources in PostgreSQL: worker, web process and sink as they are, from a write over REST to its row."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sinks.tables import TABLES
from tests.e2e.product import Client, Deployment
from tests.sinks.conftest import World

PATH = "/api/v1/resources"


@pytest.fixture
async def client(world: World) -> AsyncIterator[Client]:
    """Writes to a worker and a web process on the topics that the world's sink reads."""
    world.written = TABLES
    async with Deployment(world.kafka) as deployment:
        await deployment.worker()
        yield await deployment.web()


async def rows_of(world: World, id: str) -> list[dict[str, Any]]:
    return await world.fetch("SELECT * FROM resources WHERE id = $1", id)


async def test_its_row_comes_changes_and_goes(world: World, client: Client):
    async with world.sink():
        # when a resource is created, then its row has every member and the version
        created = await client.request("POST", PATH, {"name": "one", "description": "ü"})
        await world.drained()
        assert [{**created.json, "version": 1}] == await rows_of(world, created["id"])

        # when it is replaced, then its row shows it as it is then
        path = f"{PATH}/{created['id']}"
        updated = await client.request("PUT", path, {"name": "two", "status": "inactive"})
        await world.drained()
        assert [{**updated.json, "version": 2}] == await rows_of(world, created["id"])

        # when it is deleted, then the row is gone
        assert 204 == (await client.request("DELETE", path)).status
        await world.drained()
        assert [] == await rows_of(world, created["id"])


async def test_what_was_written_while_no_sink_ran_is_there_once_it_runs(world: World, client: Client):
    # given resources of which some were changed and some deleted before a sink was started
    resources = [(await client.request("POST", PATH, {"name": f"n{number}"})).json for number in range(6)]
    for resource in resources[:2]:
        await client.request("DELETE", f"{PATH}/{resource['id']}")
    changed = [
        (await client.request("PUT", f"{PATH}/{resource['id']}", {"name": "changed"})).json
        for resource in resources[2:4]
    ]

    # when one has caught up
    await world.drain()

    # then the rows are what there is
    expected = [
        *({**resource, "version": 2} for resource in changed),
        *({**resource, "version": 1} for resource in resources[4:]),
    ]
    assert sorted(expected, key=lambda row: row["id"]) == await world.fetch(
        "SELECT * FROM resources ORDER BY id"
    )
