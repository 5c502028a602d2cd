"""A simple kind becomes one table: what a record leaves in it, and what none may change."""

import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from sinks.table import Table
from streams.json import encode
from tests.conftest import Servers
from tests.sinks.conftest import a_world
from tests.sinks.gadgets import CREATE, FLOW, GADGETS, HISTORY, Gadgets, declare, gadget, row_of
from tests.sinks.given import cluster, rows_of


@pytest.fixture
async def gadgets(servers: Servers) -> AsyncIterator[Gadgets]:
    async with a_world(await servers.new_topics(partitions=3), await servers.new_database()) as world:
        await declare(world.kafka)
        async with world.connection() as connection:
            await connection.execute(CREATE)
        world.written = (GADGETS,)
        yield Gadgets(world, GADGETS)


@pytest.fixture
async def history(gadgets: Gadgets) -> Gadgets:
    gadgets.world.written = (HISTORY,)
    return Gadgets(gadgets.world, HISTORY)


# --- what is written ------------------------------------------------------------------------------


async def test_a_row_shows_every_member(gadgets: Gadgets):
    full = gadget(
        labels={"ü": [1.5, None]}, note={"a": {"b": 1}}, weight=2.5, status="off", attempts=3, version=4
    )
    bare = gadget("two")
    await gadgets.publish(full, bare)

    await gadgets.world.drain()

    assert [row_of(full), row_of(bare)] == await gadgets.values()


async def test_the_newest_of_a_batch_counts_beside_clusters(gadgets: Gadgets):
    states = [gadget(f"{n:02}", version=v) for v in (1, 2, 3) for n in range(40)]
    await gadgets.publish(*states)
    await gadgets.world.publish(one := cluster())

    await gadgets.world.drain()

    assert [row_of(state) for state in states[-40:]] == await gadgets.values()
    assert rows_of([one]) == await gadgets.world.tables()


async def test_reading_everything_again_changes_nothing(gadgets: Gadgets):
    await gadgets.publish(gadget("gone"), gadget(version=1), gadget(version=2, name="new"))
    await gadgets.purge("gone")
    await gadgets.world.drain()
    before = await gadgets.rows()

    await gadgets.world.fetch("UPDATE sink_offsets SET next_offset = 0")
    await gadgets.world.drain(batch_records=1)

    assert before == await gadgets.rows()
    assert [row_of(gadget(version=2, name="new"))] == await gadgets.values()


@pytest.mark.parametrize("version", [4, 5], ids=["an older one", "one that is stored again"])
async def test_only_a_greater_version_changes_a_row(gadgets: Gadgets, version: int):
    await gadgets.publish(kept := gadget(version=5))
    await gadgets.world.drain()
    await gadgets.publish(gadget(version=version, name="other"))

    await gadgets.world.drain()

    assert [row_of(kept)] == await gadgets.values()


@pytest.mark.parametrize("batch", [1, 4000], ids=["one by one", "in one batch"])
@pytest.mark.parametrize("end", ["deleted", "purged"])
async def test_an_end_removes_the_row_of_any_version(gadgets: Gadgets, end: str, batch: int):
    await gadgets.publish(gadget(version=9), kept := gadget("two"))
    await gadgets.world.drain()
    if end == "deleted":
        await gadgets.publish(gadget(version=2, deleted=True))
    else:
        await gadgets.purge("one")

    await gadgets.world.drain(batch_records=batch)

    assert [row_of(kept)] == await gadgets.values()


@pytest.mark.parametrize("batch", [1, 4000], ids=["one by one", "in one batch"])
async def test_a_key_that_comes_again_begins_at_version_1(gadgets: Gadgets, batch: int):
    await gadgets.publish(gadget(version=9))
    await gadgets.world.drain()
    await gadgets.publish(gadget(version=10, deleted=True))
    await gadgets.purge("one")
    await gadgets.publish(again := gadget(version=1, name="again"))

    await gadgets.world.drain(batch_records=batch)

    assert [row_of(again)] == await gadgets.values()


async def test_what_is_kept_outlives_its_state(history: Gadgets):
    await history.publish(gadget(), gadget(version=2, deleted=True))
    await history.purge("one")

    await history.world.drain()

    [row] = await history.rows()
    assert (2, "2030-01-01T12:00:09Z") == (row["version"], row["deleted_at"])


# --- claims, and tombstones that are gone -----------------------------------------------------------


async def test_a_replaced_worker_leaves_no_row(gadgets: Gadgets):
    claims = [await gadgets.claim(0), await gadgets.claim(0)]
    await gadgets.publish_under(claims[1], 0, kept := gadget(version=1))
    await gadgets.world.drain()
    await gadgets.publish_under(claims[0], 0, gadget(version=2), gadget("zombie's"))
    await gadgets.world.publish(*(unclaimed := [cluster(n) for n in range(9)]))

    await gadgets.world.drain()

    assert [row_of(kept)] == await gadgets.values()
    assert rows_of(unclaimed) == await gadgets.world.tables(), "claims are each changelog's own"


async def test_rows_whose_tombstones_are_gone_are_removed(gadgets: Gadgets):
    await gadgets.publish(kept := gadget())
    await gadgets.world.drain()
    await gadgets.insert(*[gadget(f"gone {n}") for n in range(7)])
    await gadgets.world.fetch("UPDATE sink_offsets SET read_until = now() - interval '8 days'")
    await gadgets.publish(more := gadget("zwei"))

    await gadgets.world.drain()

    assert [row_of(kept), row_of(more)] == await gadgets.values()


async def test_kept_rows_do_not_vanish(history: Gadgets):
    await history.publish(gadget(), gadget("gone"))
    await history.world.drain()
    await history.purge("gone")
    await history.world.fetch("UPDATE sink_offsets SET read_until = now() - interval '8 days'")

    await history.world.drain()

    assert ["gone", "one"] == [row["id"] for row in await history.rows()]


# --- what is refused ------------------------------------------------------------------------------


def bad(**members: Any) -> bytes:
    """A state with some members of what readers see replaced."""
    body = json.loads(encode(gadget()))
    return json.dumps({**body, "gadget": {**body["gadget"], **members}}).encode()


@pytest.mark.parametrize(
    ("reason", "key", "value"),
    [
        pytest.param("invalid_schema", b"one", b"{", id="half an object"),
        pytest.param("invalid_schema", b"one", b"", id="no bytes"),
        pytest.param("invalid_schema", b"one", bad(status="odd"), id="no such status"),
        pytest.param("invalid_schema", b"one", bad(made_at="2030-01-01T12:00:00"), id="a time without zone"),
        pytest.param("invalid_schema", b"one", encode(gadget(version=2**63)), id="beyond 64 bits"),
        pytest.param("bad_key", b"two", encode(gadget()), id="another one's key"),
        pytest.param("bad_key", b"\xff", None, id="a key that is no text"),
        pytest.param("refused_by_database", b"one", bad(name="n" * 21), id="a text too long"),
        pytest.param("refused_by_database", b"one", bad(labels={"a": "\0"}), id="a NUL in JSON"),
    ],
)
async def test_a_bad_record_is_parked_alone(gadgets: Gadgets, reason: str, key: bytes, value: bytes | None):
    good = [gadget(f"g{n}") for n in range(6)]
    await gadgets.publish(*good[:3])
    await gadgets.send((key, value))
    await gadgets.publish(*good[3:])

    await gadgets.world.drain()

    assert [row_of(state) for state in good] == await gadgets.values()
    [letter] = await gadgets.world.dead_letters(gadgets.topic)
    assert (key, value) == (letter.key, letter.value)
    assert reason.encode() == dict(letter.headers)["dlq_reason"]


# --- declarations -----------------------------------------------------------------------------------


class Unguarded(NamedTuple):
    id: str
    name: str


class Lossy(NamedTuple):
    id: str
    name: str
    version: int


class Unknown(NamedTuple):
    id: str
    name: str
    made_at: str
    colour: str
    version: int


class Untyped(NamedTuple):
    id: str
    name: list[str]
    version: int


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (Unguarded, "version"),
        (Lossy, "no column for made_at"),
        (Unknown, "colour"),
        (Untyped, "no type of a column"),
    ],
)
def test_a_row_type_that_cannot_work_is_refused(row: Any, why: str):
    with pytest.raises(TypeError, match=why):
        Table(flow=FLOW, name="gadgets", row=row)


def test_a_row_makes_the_state_that_it_came_from():
    state = gadget(labels={"a": [1]}, note=None, weight=0.5, attempts=2, version=7)
    values = dict(zip(GADGETS.columns, GADGETS.row_of(GADGETS.decode(encode(state))), strict=True))

    restored = GADGETS.state_of(values)

    assert (state.gadget, 7, 2) == (restored.gadget, restored.version, restored.attempts)
    assert ({}, (), 1) == (restored.offsets, restored.recent, restored.revision)


def test_members_that_a_state_lacks_take_their_defaults():
    old = b'{"revision": 1, "gadget": {"id": "a", "name": "b", "made_at": "2030-01-01T12:00:00Z"}}'
    shown = GADGETS.row_of(GADGETS.decode(old))
    assert ("a", "b", "on", "{}", None, None) == shown[:6]
    assert (0, 0) == shown[7:]
