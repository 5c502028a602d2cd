"""Kinds in several databases: each has its own, and none waits for another's."""

import json
from pathlib import Path

from database import DatabaseSettings
from domain.policy import Policy
from migrations import migrate
from sinks.tables import TABLES
from streams.resource import resource_flow
from streams.task import task_flow
from tests.conftest import Servers, until
from tests.sinks.conftest import World, a_world

SAMPLES = Path(__file__).parents[1] / "descriptions" / "samples"
RESOURCES, TASKS = (flow(Policy()).state for flow in (resource_flow, task_flow))


async def states(world: World) -> None:
    """A state of a resource, and one of a task."""
    for topic, sample, shown in (
        (RESOURCES, "resource-state/live", "resource"),
        (TASKS, "task-state/completed", "task"),
    ):
        value = (SAMPLES / f"{sample}.json").read_bytes()
        key = json.loads(value)[shown]["id"].encode()
        await world.send(world.topics.of(topic), [(key, value)])


async def count(world: World, table: str) -> int:
    return int((await world.fetch(f"SELECT count(*) AS count FROM {table}"))[0]["count"])


async def test_a_database_that_is_away_holds_up_no_other(world: World):
    # given a database of tasks that is not there
    url = f"{world.database_url}_tasks"
    world.written = TABLES
    await states(world)
    async with world.sink(elsewhere={"grpc": DatabaseSettings(url=url)}) as sink:
        # then resources have their rows, and the sink is not ready
        async def resources() -> bool:
            return await count(world, "resources") == 1

        await until(resources, what="a row of a resource")
        assert not sink.ready
        assert world.topics.of(TASKS) not in {topic for topic, _ in await world.positions()}

        # when the database of tasks is there
        await world.fetch(f"CREATE DATABASE {url.rpartition('/')[2]}")
        await migrate(url, names=["grpc"])
        other = World(world.kafka, url, world._producer, world._tail)

        async def ready() -> bool:
            return sink.ready and await count(other, "tasks") == 1

        # then its rows follow, and only there
        await until(ready, what="a row of a task")
    assert 0 == await count(world, "tasks")
    assert {world.topics.of(TASKS)} == {topic for topic, _ in await other.positions()}


async def test_several_names_of_one_database_are_one(world: World):
    world.written = TABLES
    await states(world)
    same = DatabaseSettings(url=world.database_url)

    await world.drain(elsewhere={"grpc": same, "worker": same})

    assert (1, 1) == (await count(world, "resources"), await count(world, "tasks"))


async def test_recorder_and_sink_each_have_their_positions(servers: Servers, world: World):
    async with a_world(world.kafka, await servers.new_database()) as events:
        await events.send_public("resource.deleted", b'{"id": "r"}', event_id="7")
        await events.record()

    read = {topic for topic, _ in await events.positions()}
    assert all(topic.startswith(world.topics.of("resource.")) or "task." in topic for topic in read)
    assert {} == await world.positions()
