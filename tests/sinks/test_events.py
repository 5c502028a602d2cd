"""The audit of what was announced: one row per event."""

from tests.sinks.conftest import World
from tests.sinks.given import event, uuid

COLUMNS = "id, cluster_id, controller_name, event_type, generation, metadata, published_at"


async def test_an_event_becomes_a_row(world: World):
    await world.announce(event(1))

    await world.drain()

    assert await world.fetch(f"SELECT {COLUMNS} FROM cluster_events") == [
        {
            "id": uuid(("event", 1)),
            "cluster_id": uuid("one"),
            "controller_name": "cluster",
            "event_type": "cluster.updated",
            "generation": 3,
            "metadata": {"triggered_by": "api_request", "request_id": None},
            "published_at": "2030-01-01T12:00:00Z",
        }
    ]


async def test_a_reason_is_kept_with_the_metadata(world: World):
    await world.announce(event(1, kind="cluster.reconcile", reason="healthy_reconciliation"))

    await world.drain()

    [row] = await world.fetch("SELECT metadata FROM cluster_events")
    assert row["metadata"] == {
        "triggered_by": "api_request",
        "request_id": None,
        "reason": "healthy_reconciliation",
    }


async def test_an_event_that_comes_again_stays_one_row(world: World):
    await world.announce(event(1), event(2), event(1))
    async with world.sink():
        await world.drained()
        await world.announce(event(2), event(3))
        await world.drained()

    rows = await world.fetch("SELECT id FROM cluster_events")
    assert {uuid(("event", n)) for n in (1, 2, 3)} == {row["id"] for row in rows}
    assert len(rows) == 3


async def test_events_outlive_their_cluster(world: World):
    await world.announce(event(1))
    await world.send(world.topics.state, [(uuid("one").encode(), None)])

    await world.drain()

    assert len(await world.fetch("SELECT id FROM cluster_events")) == 1
