"""The audit of what was announced: one row per event."""

import json
from typing import Any

import pytest

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


def operation(number: int, **members: Any) -> dict[str, Any]:
    """An event of operations, in its envelope."""
    return {
        "event_id": uuid(("operation", number)),
        "type": "droplet.created",
        "cluster_id": uuid("one"),
        "timestamp": "2030-01-01T12:00:00Z",
        "trace_id": uuid("trace"),
        "payload": {"droplet": {"id": "d", "name": "ü"}},
        "schema_version": 1,
    } | members


async def told(world: World, key: bytes, *events: dict[str, Any]) -> None:
    await world.send(world.topics.events, [(key, json.dumps(each).encode()) for each in events])


async def test_events_of_clusters_and_of_operations_have_tables_of_their_own(world: World):
    # given, among events of a cluster, one that comes twice
    await world.announce(event(1))
    await told(world, b"droplet-1", operation(1), operation(1), operation(2, cluster_id=None, trace_id=None))
    # when
    await world.drain()
    # then
    assert 1 == len(await world.fetch("SELECT id FROM cluster_events"))
    rows = await world.fetch("SELECT * FROM events ORDER BY cluster_id NULLS LAST")
    assert {
        "event_id": uuid(("operation", 1)),
        "type": "droplet.created",
        "key": "droplet-1",
        "cluster_id": uuid("one"),
        "trace_id": uuid("trace"),
        "payload": {"droplet": {"id": "d", "name": "ü"}},
        "timestamp": "2030-01-01T12:00:00Z",
    } == rows[0]
    assert [(uuid(("operation", 2)), None, None)] == [
        (row["event_id"], row["cluster_id"], row["trace_id"]) for row in rows[1:]
    ]


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        (b"", operation(1)),
        (b"x" * 256, operation(1)),
        (b"\xff", operation(1)),
        (b"d", operation(1, event_id="no uuid")),
        (b"d", operation(1, type="")),
        (b"d", operation(1, type="x" * 101)),
        (b"d", operation(1, timestamp="yesterday")),
        (b"d", operation(1, cluster_id="x" * 256)),
        (b"d", {"type": "droplet.created"}),
        (b"d", {}),
    ],
)
async def test_an_event_that_is_none_is_parked_and_the_next_one_stored(world: World, key, bad):
    await told(world, key, bad)
    await told(world, b"d", operation(2))
    await world.drain()
    assert 1 == len(await world.fetch("SELECT event_id FROM events"))
    assert 1 == len(await world.dead_letters(world.topics.events))
