"""A record that nobody can store goes to the dead-letter topic, and everything else is written."""

import json
from typing import Any

import pytest

from streams.json import encode
from tests.sinks.conftest import World
from tests.sinks.given import OWNER, cluster, event, report, rows_of, uuid

KEY = uuid("one").encode()


def state(**members: Any) -> bytes:
    """A state record with some members of its cluster replaced."""
    body = json.loads(encode(cluster(reports=[report()])))
    return json.dumps({**body, "cluster": {**body["cluster"], **members}}).encode()


def without(member: str) -> bytes:
    body = json.loads(state())
    del body["cluster"][member]
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("reason", "key", "value"),
    [
        pytest.param("invalid_schema", KEY, b"", id="no bytes"),
        pytest.param("invalid_schema", KEY, b"{", id="half an object"),
        pytest.param("invalid_schema", KEY, b"[]", id="no object"),
        pytest.param("invalid_schema", KEY, b"\xff\xfe", id="no text"),
        pytest.param(
            "invalid_schema", KEY, state().replace(b"note", b"\xff"), id="no text where JSON is kept as it is"
        ),
        pytest.param("invalid_schema", KEY, b"[" * 100_000, id="nested without end"),
        pytest.param("invalid_schema", KEY, without("name"), id="no name"),
        pytest.param("invalid_schema", KEY, state(generation=0), id="generation 0"),
        pytest.param("invalid_schema", KEY, state(generation=2**63), id="generation beyond 64 bits"),
        pytest.param(
            "invalid_schema", KEY, state(created_at="2030-01-01T12:00:00"), id="a time without zone"
        ),
        pytest.param("invalid_schema", KEY, state(spec={"a": "\ud800"}), id="half a surrogate pair"),
        pytest.param("invalid_schema", b"x", state(id="x"), id="an id that is none"),
        pytest.param("bad_key", uuid("two").encode(), state(), id="another cluster's key"),
        pytest.param("bad_key", b"one", None, id="a tombstone for nobody"),
        pytest.param("refused_by_database", KEY, state(name="n" * 256), id="a name too long for its column"),
        pytest.param("refused_by_database", KEY, state(name="a\0b"), id="a NUL in text"),
        pytest.param("refused_by_database", KEY, state(spec={"a": "\0"}), id="a NUL in JSON"),
        pytest.param(
            "refused_by_database",
            KEY,
            state(spec={"a": 0}).replace(b'"a": 0', b'"a": 1e200000'),
            id="a number beyond numeric",
        ),
    ],
)
async def test_poison_is_parked_and_the_rest_is_written(
    world: World, reason: str, key: bytes | None, value: bytes | None
):
    good = [cluster(n) for n in range(10)]
    await world.publish(*good[:5])
    [(partition, offset)] = await world.send(world.topics.state, [(key, value)])
    await world.publish(*good[5:])

    await world.drain()

    assert rows_of(good) == await world.tables()
    [letter] = await world.dead_letters(world.topics.state)
    headers = {name: text.decode() for name, text in letter.headers}
    assert (key, value) == (letter.key, letter.value)
    assert headers["dlq_reason"] == reason
    assert headers["dlq_error"]
    assert headers["dlq_topic"] == world.topics.state
    assert headers["dlq_partition"] == str(partition)
    assert headers["dlq_offset"] == str(offset)


async def test_each_of_many_is_found(world: World):
    good = [cluster(n) for n in range(200)]
    for n, record in enumerate(good):
        await world.publish(record)
        if n % 20 == 0:
            await world.send(world.topics.state, [(KEY, state(name="n" * 256))])
        if n % 40 == 0:
            await world.send(world.topics.state, [(KEY, b"{")])

    await world.drain()

    assert rows_of(good) == await world.tables()
    assert len(await world.dead_letters(world.topics.state)) == 10 + 5


@pytest.mark.parametrize(
    ("failures", "parked"),
    [pytest.param(4, 0, id="the fifth try succeeds"), pytest.param(5, 1, id="the fifth try fails, too")],
)
async def test_what_is_not_clearly_the_rows_fault_is_tried_five_times(
    world: World, failures: int, parked: int
):
    await world.fetch("CREATE SEQUENCE tries")  # counts on through a rollback
    await world.fetch(
        "CREATE FUNCTION moody() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('tries') <= {failures} THEN RAISE EXCEPTION 'oh' USING ERRCODE = 'XX000'; END IF;"
        " RETURN new; END $$"
    )
    await world.fetch("CREATE TRIGGER moody BEFORE INSERT ON clusters FOR EACH ROW EXECUTE FUNCTION moody()")
    await world.publish(record := cluster())

    await world.drain()

    assert rows_of([] if parked else [record]) == await world.tables()
    assert len(await world.dead_letters(world.topics.state)) == parked


async def test_the_last_good_record_of_a_cluster_counts(world: World):
    await world.publish(cluster(generation=1), newest := cluster(generation=2))
    await world.send(world.topics.state, [(KEY, state(generation=3, name="n" * 256))])

    await world.drain()

    assert rows_of([newest]) == await world.tables()


async def test_bad_events_are_parked(world: World):
    good = event(1)
    bad = (b"{}", None, json.dumps({**event(2), "type": "t" * 101}).encode())
    await world.send(world.topics.events, [(KEY, value) for value in bad])
    await world.send(world.topics.events, [(None, json.dumps(event(3)).encode())])
    await world.announce(good)

    await world.drain()

    assert [good["id"]] == [row["id"] for row in await world.fetch("SELECT id FROM cluster_events")]
    assert len(await world.dead_letters(world.topics.events)) == 4


async def test_two_clusters_that_live_under_one_name_for_good_are_a_matter_for_verify(world: World):
    """The stream never has that; should it, both rows are there and the younger holds the name."""
    await world.publish(cluster(1, name="x"), cluster(2, name="x", created=1))

    await world.drain()

    rows = await world.fetch(
        "SELECT id, deleted_at IS NULL AS live FROM clusters WHERE created_by = $1", OWNER
    )
    assert {row["id"]: row["live"] for row in rows} == {uuid(1): False, uuid(2): True}
