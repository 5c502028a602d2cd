"""The log of public events: one row for each, whatever comes, and whatever happens meanwhile."""

import asyncio
import json
import signal
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import pytest

from deploy.embedded import Stack
from domain.ids import NAMESPACE
from domain.resource import Resource
from domain.values import Struct
from sinks.mapping import Change
from sinks.recorder import EventRow, PublicRows, mappings
from streams.flows import PUBLIC, SIMPLE_FLOWS
from streams.json import encode
from streams.resource import Gone
from streams.task import Completed, Failed, Requested
from tests.conftest import until
from tests.sinks.conftest import World, running
from tests.sinks.given import T0, uuid

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = "0af7651916cd43dd8448eb211c80319c"
RESOURCE = Resource(id="r", name="n", description="ü", status="active", created_at=T0, updated_at=T0)
ABOUT: dict[str, str] = {"task_id": "t", "resource_id": "r", "action": "a"}

VALUES: dict[str, Any] = {
    "resource.created": RESOURCE,
    "resource.updated": RESOURCE,
    "resource.deleted": Gone("r"),
    "task.process": Requested(**ABOUT, metadata={"k": "v"}),
    "task.completed": Completed(**ABOUT, result="done"),
    "task.failed": Failed(**ABOUT, error="no"),
}

GONE = encode(Gone("r"))
DONE = encode(Completed(**ABOUT, result="done"))

COLUMNS = "id, event_type, resource_id, task_id, action, payload, trace_id"


async def rows(world: World) -> list[dict[str, Any]]:
    return await world.fetch(f"SELECT {COLUMNS} FROM processed_events ORDER BY processed_at, id")


async def ids(world: World) -> Counter[str]:
    return Counter(str(row["id"]) for row in await world.fetch("SELECT id FROM processed_events"))


async def announce(world: World, *words: object) -> None:
    """An event for each word, on topics and partitions in turn."""
    for number, word in enumerate(words):
        name = PUBLIC[number % len(PUBLIC)]
        await world.send_public(name, encode(VALUES[name]), key=str(word).encode(), event_id=uuid(word))


def derived(place: tuple[str, int, int]) -> str:
    """The id that stands for a place, by the library that our own function replaces."""
    return str(uuid5(UUID(NAMESPACE), "".join(f"{len(str(word))}:{word}" for word in place)))


# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLIC)
async def test_a_public_record_becomes_a_row(world: World, name: str):
    began = datetime.now(UTC)
    of_task = name.startswith("task")

    await world.send_public(name, encode(VALUES[name]), event_id=uuid(1), traceparent=PARENT)
    await world.record()

    [row] = await rows(world)
    assert row == {
        "id": uuid(1),
        "event_type": name,
        "resource_id": "r",
        "task_id": "t" if of_task else None,
        "action": "a" if of_task else name.removeprefix("resource."),
        "payload": json.loads(encode(VALUES[name])),
        "trace_id": TRACE,
    }
    async with world.connection() as connection:
        stored = await connection.fetchval("SELECT processed_at FROM processed_events")
    assert began <= stored <= datetime.now(UTC)


def test_every_public_topic_of_a_kind_has_rows():
    names = {name for flow in SIMPLE_FLOWS for name in flow.public}
    assert names == VALUES.keys()
    assert {f"eu.{name}" for name in names} == set(mappings("eu.", PUBLIC).topics)


def test_a_value_that_does_not_say_what_it_is_about_makes_no_rows():
    class Aimless(Struct):
        task_id: str

    with pytest.raises(TypeError, match="Aimless"):
        PublicRows("", "aim.missed", Aimless)


async def test_unknown_members_are_kept_and_change_no_column(world: World):
    value = {"id": "r", "status": "deleted", "task_id": 7, "action": [], "more": {"a": [1.50, None]}}

    await world.send_public("resource.deleted", json.dumps(value).encode(), event_id=uuid(1))
    await world.record()

    [row] = await rows(world)
    assert (value, None, "deleted") == (row["payload"], row["task_id"], row["action"])


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"traceparent": PARENT.replace(TRACE, "0" * 32)}, id="zeros"),
        pytest.param({"traceparent": "x"}, id="no trace"),
    ],
)
async def test_a_record_without_a_valid_trace_has_a_row_without_one(world: World, headers: dict[str, str]):
    await world.send_public("resource.deleted", GONE, event_id=uuid(1), **headers)
    await world.record()

    [row] = await rows(world)
    assert row["trace_id"] is None


async def test_a_record_without_a_key_is_accepted(world: World):
    """WK-5."""
    await world.send_public("resource.deleted", GONE, key=None, event_id=uuid(1))
    await world.record()

    assert Counter([uuid(1)]) == await ids(world)
    assert not await world.dead_letters(world.topics.of("resource.deleted"))


async def test_only_chosen_topics_are_recorded(world: World):
    await announce(world, *range(6))

    async with world.recorder(recorded=("task.failed",)):
        await until(lambda: rows(world), what="a row")

    assert ["task.failed"] == [row["event_type"] for row in await rows(world)]
    assert {topic for topic, _ in await world.positions()} == {world.topics.of("task.failed")}


# --- one row for each event (WK-1) ----------------------------------------------------------------


async def test_an_event_that_comes_again_stays_one_row(world: World):
    async with world.recorder():
        for word, trace in ((1, None), (2, PARENT), (1, PARENT)):  # in one batch, and in several
            headers = {"traceparent": trace} if trace else {}
            await world.send_public("task.completed", DONE, event_id=uuid(word), **headers)
        await world.recorded()
        await world.send_public("task.completed", DONE, event_id=uuid(2).upper())
        await world.send_public("task.completed", DONE, event_id=uuid(3))
        await world.recorded()

    assert Counter(map(uuid, (1, 2, 3))) == await ids(world)


async def test_of_two_records_of_an_event_the_first_is_inserted_first():
    rows = [EventRow(uuid(1), "r", None, "a", payload, trace) for payload, trace in (("1", None), ("2", "t"))]
    kept = _Kept()

    await PublicRows("", "resource.deleted", Gone).write(
        kept, [Change(None, row) for row in rows], make_room=False
    )

    assert ["1", "2"] == kept.columns["payload"]


class _Kept:
    """A connection that keeps what is inserted."""

    async def execute(self, statement: str, kind: str, *columns: Any) -> None:
        self.columns = dict(zip(EventRow._fields, map(list, columns), strict=True))


@pytest.mark.parametrize("headers", [{}, {"event_id": ""}, {"event_id": "7"}, {"event_id": uuid(1)[:-1]}])
async def test_an_event_without_an_id_has_one_by_its_place(world: World, headers: dict[str, str]):
    place = await world.send_public("task.completed", DONE, **headers)
    await world.record()
    await world.fetch("UPDATE sink_offsets SET next_offset = 0")
    await world.record()

    assert Counter([derived(place)]) == await ids(world)


async def test_reading_everything_again_adds_no_row(world: World):
    """DR-2."""
    await announce(world, *range(60))
    await world.record()
    await world.fetch("DELETE FROM sink_offsets")

    await world.record()

    assert Counter(map(uuid, range(60))) == await ids(world)


# --- bad records (WK-3) ---------------------------------------------------------------------------


def without(value: bytes, member: str) -> bytes:
    body = json.loads(value)
    del body[member]
    return json.dumps(body).encode()


def having(value: bytes, **members: Any) -> bytes:
    return json.dumps({**json.loads(value), **members}).encode()


@pytest.mark.parametrize(
    ("reason", "name", "value"),
    [
        pytest.param("invalid_schema", "resource.deleted", None, id="null"),
        pytest.param("invalid_schema", "resource.deleted", b"", id="no bytes"),
        pytest.param("invalid_schema", "resource.deleted", b'{"half": ', id="half an object"),
        pytest.param("invalid_schema", "resource.deleted", b"[]", id="no object"),
        pytest.param("invalid_schema", "resource.deleted", b'{"id": "r", "a": "\xff"}', id="no text"),
        pytest.param("invalid_schema", "resource.deleted", b'{"status": "deleted"}', id="no id"),
        pytest.param("invalid_schema", "resource.deleted", b'{"id": 7}', id="an id that is a number"),
        pytest.param("invalid_schema", "resource.deleted", b'{"id": ""}', id="an empty id"),
        pytest.param("invalid_schema", "resource.deleted", having(GONE, id="r" * 101), id="a long id"),
        pytest.param("invalid_schema", "task.process", without(DONE, "task_id"), id="no task"),
        pytest.param("invalid_schema", "task.completed", without(DONE, "resource_id"), id="no resource"),
        pytest.param("invalid_schema", "task.failed", without(DONE, "action"), id="no action"),
        pytest.param("invalid_schema", "task.failed", having(DONE, action="a" * 101), id="a long action"),
        pytest.param("refused_by_database", "task.failed", having(DONE, action="a\0b"), id="a NUL in text"),
        pytest.param("refused_by_database", "task.failed", having(DONE, error="a\0b"), id="a NUL in JSON"),
        pytest.param("refused_by_database", "resource.deleted", b'{"id": "r", "a": 1e200000}', id="a number"),
    ],
)
async def test_a_bad_record_is_parked_and_the_rest_is_recorded(
    world: World, reason: str, name: str, value: bytes | None
):
    await announce(world, *range(6))
    topic, partition, offset = await world.send_public(name, value, event_id=uuid("bad"))
    await announce(world, *range(6, 12))

    await world.record()

    assert Counter(map(uuid, range(12))) == await ids(world)
    [letter] = await world.dead_letters(topic)
    headers = {header: text.decode() for header, text in letter.headers}
    assert (b"one", value) == (letter.key, letter.value)
    assert (reason, uuid("bad")) == (headers["dlq_reason"], headers["event_id"])
    assert (partition, offset) == (int(headers["dlq_partition"]), int(headers["dlq_offset"]))


async def test_texts_as_long_as_the_columns_are_recorded(world: World):
    await world.send_public("task.failed", having(DONE, action="ü" * 100), event_id=uuid(1))
    await world.record()

    assert ["ü" * 100] == [row["action"] for row in await rows(world)]


# --- crashes and outages (WK-2, WK-4) -------------------------------------------------------------


async def test_kill_9_in_the_middle_leaves_each_event_once(world: World):
    await announce(world, *range(300))
    for attempt in range(3):
        before = len(await rows(world))
        group = f"{world.recorder_settings.group_id}-{attempt}"  # else each waits until Kafka misses the last
        given = replace(world.recorder_settings, group_id=group, batch_records=20, crash_after_commit=2)
        process = await running("sinks.recorder", given)
        assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL
        assert before < len(await rows(world)) < 300

    await world.record()

    assert Counter(map(uuid, range(300))) == await ids(world)


async def test_a_database_that_goes_away_and_comes_back_loses_nothing(fragile_world: World, fragile: Stack):
    world = fragile_world
    async with world.recorder(writers=2) as recorder:
        await announce(world, *range(30))
        await until(lambda: rows(world), what="rows")
        fragile.postgres.kill()
        await announce(world, *range(30, 60))

        async def unready() -> bool:
            return not recorder.ready

        await until(unready, what="readiness taken back")
        await asyncio.to_thread(fragile.postgres.start)
        await announce(world, *range(60, 70))
        await world.recorded()

    assert Counter(map(uuid, range(70))) == await ids(world)


async def test_sink_and_recorder_share_a_database(world: World):
    async with world.sink(), world.recorder():
        await announce(world, *range(6))
        await world.recorded()
        await world.drained()

    read = {topic for topic, _ in await world.positions()}
    assert read >= {world.topics.state, *map(world.topics.of, PUBLIC)}
