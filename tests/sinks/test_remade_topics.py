"""A topic that was made anew is another topic, also when it has grown beyond what was read of the old one."""

import asyncio

import pytest

from recovery import verify
from recovery.errors import NotComparable
from sinks import run
from sinks.errors import ForeignPositions
from streams.kafka.topic_ids import TopicReplaced, topic_ids
from streams.samples import FLOW as SAMPLES
from tests.e2e.remade import made_anew
from tests.recovery.given import settings_of
from tests.sinks.conftest import World
from tests.sinks.given import cluster, event, rows_of


async def end_of(world: World) -> Exception:
    """What a sink says when it ends by itself."""
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(run(world.settings, stop=asyncio.Event()), 30)
    [error] = caught.value.exceptions
    return error


@pytest.mark.parametrize("which", ["state", "events"])
async def test_one_that_has_grown_beyond_the_position_is_refused(world: World, which: str):
    await world.publish(*(records := [cluster(n) for n in range(5)]))
    await world.announce(event(1))
    await world.drain()
    await made_anew(world.kafka, getattr(world.topics, which))
    await world.publish(*(cluster(n, generation=g) for n in range(20) for g in range(1, 4)))
    await world.announce(*[event(n) for n in range(2, 30)])

    error = await end_of(world)

    assert isinstance(error, ForeignPositions)
    assert f"{getattr(world.topics, which)} was made anew" in str(error)
    if which == "state":  # of the other topic it may have read on
        assert rows_of(records) == await world.tables()
    with pytest.raises(NotComparable, match="was made anew"):
        await verify(settings_of(world))


async def test_a_sink_that_runs_meanwhile_ends(world: World):
    await world.publish(cluster())
    running = asyncio.create_task(run(world.settings, stop=asyncio.Event()))
    await world.drained()

    await made_anew(world.kafka, world.topics.state)

    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(running, 30)
    assert all(isinstance(error, TopicReplaced | ForeignPositions) for error in caught.value.exceptions)


async def test_positions_from_before_take_the_present_id(world: World):
    await world.publish(cluster("before"))
    await world.drain()
    await world.fetch("UPDATE sink_offsets SET topic_id = NULL")
    await world.publish(*(records := [cluster("before"), cluster("after")]))

    await world.drain()

    assert rows_of(records) == await world.tables()
    read = (world.topics.state, world.topics.events, world.topics.of(SAMPLES.commands))
    ids = await topic_ids(world.kafka, read)
    stored = await world.fetch("SELECT DISTINCT topic, topic_id FROM sink_offsets")
    assert ids == {row["topic"]: row["topic_id"] for row in stored}
