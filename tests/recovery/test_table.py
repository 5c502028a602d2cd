"""A kind that is one table: each difference is found and repaired, and a lost changelog is filled again."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from database import Pool
from recovery import Rebuilt, RecoverySettings, Verified, rebuild, verify
from recovery.differences import RefusedRows
from recovery.errors import NotComparable, RebuildRefused
from recovery.look import Look
from recovery.repair import Repair
from recovery.snapshot import SESSION, snapshot
from recovery.table import TableCheck
from sinks.table import TableRows
from streams.json import encode
from streams.kafka.admin import declare_topics
from streams.topics import Topics
from tests.conftest import Servers
from tests.recovery.given import everything, settings_of
from tests.sinks.conftest import a_world
from tests.sinks.gadgets import CREATE, FLOW, GADGETS, HISTORY, Gadgets, declare, gadget, row_of

LIVE = [gadget("a", labels={"n": [1.0]}, note={"b": 1}), gadget("b", version=3), gadget("c"), gadget("d")]
PAGES_OF = 3


@pytest.fixture
async def stored(servers: Servers) -> AsyncIterator[Gadgets]:
    """Some gadgets, one of them deleted, one purged; stored by a sink that has stopped."""
    async with a_world(await servers.new_topics(partitions=3), await servers.new_database()) as world:
        await declare(world.kafka)
        async with world.connection() as connection:
            await connection.execute(CREATE)
        world.written = (GADGETS,)
        gadgets = Gadgets(world, GADGETS)
        await gadgets.publish(*LIVE, gadget("deleted"), gadget("purged"))
        await gadgets.publish(gadget("deleted", version=2, deleted=True))
        await gadgets.purge("purged")
        await world.drain()
        yield gadgets


async def verified(gadgets: Gadgets, *, repair: bool = False) -> Verified:
    settings = replace(settings_of(gadgets.world), page=PAGES_OF)
    return await verify(settings, repair=repair, tables=gadgets.world.written)


def told(found: Verified) -> set[tuple[str, str]]:
    return {(difference.id, difference.what) for difference in found.first}


async def test_nothing_differs_where_nothing_is_wrong(stored: Gadgets):
    found = await verified(stored)

    assert (True, set(), 4) == (found.equal, told(found), found.compared["gadgets"])
    assert "gadgets" in found.tables


DAMAGE = [
    pytest.param("DELETE FROM gadgets WHERE id = 'a'", {("a", "missing")}, id="a row was deleted"),
    pytest.param("DELETE FROM gadgets", {(id, "missing") for id in "abcd"}, id="all rows were deleted"),
    pytest.param(
        "UPDATE gadgets SET labels = '{}', note = NULL, weight = 1 WHERE id = 'a'",
        {("a", "labels, note, weight")},
        id="columns were changed",
    ),
    pytest.param(
        "UPDATE gadgets SET version = 99, name = 'x' WHERE id = 'b'",
        {("b", "name, version")},
        id="a row claims to be newer",
    ),
    pytest.param(
        "INSERT INTO gadgets SELECT 'made up', name, status, labels, note, weight, made_at, attempts, 1"
        " FROM gadgets WHERE id = 'a'",
        {("made up", "without record")},
        id="a row was made up",
    ),
    pytest.param(
        "UPDATE gadgets SET id = 'deleted' WHERE id = 'c'",
        {("c", "missing"), ("deleted", "without record")},
        id="a deleted one has a row",
    ),
    pytest.param(
        "UPDATE gadgets SET id = 'purged' WHERE id = 'c'",
        {("c", "missing"), ("purged", "without record")},
        id="a purged one has a row",
    ),
]


@pytest.mark.parametrize(("damage", "expected"), DAMAGE)
async def test_damage_is_found_and_repaired(stored: Gadgets, damage: str, expected: set[tuple[str, str]]):
    before = await stored.values()
    await stored.world.fetch(damage)
    damaged = await stored.values()

    found = await verified(stored)
    assert expected == told(found)
    assert damaged == await stored.values(), "without a repair nothing is written"

    repaired = await verified(stored, repair=True)
    assert repaired.equal
    assert found.different == repaired.repaired
    assert before == await stored.values()


async def test_what_the_sink_wrote_meanwhile_is_not_overwritten(stored: Gadgets):
    world, row = stored.world, row_of(LIVE[2])
    pool = Pool(world.settings.database, application="test", session=SESSION)
    async with snapshot(pool, "verify") as rows:
        await rows.positions()
        look = Look(
            settings=settings_of(world),
            reader=None,  # type: ignore[arg-type]  # a repair reads no topic
            rows=rows,
            positions={},
            widths={},
            found=Verified(),
            refused=RefusedRows(),
            repair=None,
        )
        check = TableCheck(look, TableRows(GADGETS, world.topics.prefix))
        await world.fetch("UPDATE gadgets SET name = 'newer', version = version + 1 WHERE id = 'c'")
        await check.mend(Repair(pool, look.refused), [as_stored(row)])
    await pool.close()

    assert [{"name": "newer", "version": 2}] == await world.fetch(
        "SELECT name, version FROM gadgets WHERE id = 'c'"
    )


def as_stored(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(encode(value).decode() if isinstance(value, dict) else value for value in row)


async def test_a_row_that_postgresql_refuses_is_passed_over(stored: Gadgets):
    await stored.publish(gadget("c", version=2, name="n" * 21))
    await stored.world.drain()

    found = await verified(stored)

    assert found.equal
    assert [("gadgets", "c", "name has 21 characters, the column takes 20")] == found.first_passed_over


async def test_a_bad_record_leaves_the_state_before_it(stored: Gadgets):
    await stored.send((b"c", b"{"), (b"d", b"[]"))
    await stored.world.drain()

    assert (await verified(stored)).equal


async def test_rows_that_are_kept_need_no_record(stored: Gadgets):
    stored.world.written = (HISTORY,)
    await stored.world.fetch("INSERT INTO gadget_history VALUES ('old', 'g', now(), now(), 2)")
    await stored.world.fetch("UPDATE sink_offsets SET next_offset = 0")
    await stored.world.drain()

    found = await verified(stored)
    assert (True, 5) == (found.equal, found.compared["gadget_history"])
    await stored.world.fetch("UPDATE gadget_history SET name = 'x' WHERE id = 'a'")
    assert {("a", "name")} == told(await verified(stored))
    assert (await verified(stored, repair=True)).equal


async def test_a_sink_that_has_not_read_the_changelog_is_waited_for(stored: Gadgets):
    await stored.publish(gadget("e"), gadget("f"))
    with pytest.raises(NotComparable, match="the sink is 2 records behind"):
        await verified(stored)


# --- rebuild ------------------------------------------------------------------------------------------


async def rebuilt_on(gadgets: Gadgets) -> tuple[RecoverySettings, Rebuilt]:
    """Rebuild under another prefix."""
    kafka = replace(gadgets.world.kafka, topics=Topics(f"new-{gadgets.world.topics.prefix}"))
    await declare_topics(kafka)
    await declare(kafka)
    settings = replace(settings_of(gadgets.world), kafka=kafka, page=PAGES_OF)
    return settings, await rebuild(settings, tables=gadgets.world.written)


async def test_a_changelog_is_filled_from_the_rows(stored: Gadgets):
    settings, rebuilt = await rebuilt_on(stored)

    assert {"gadgets": 4} == rebuilt.rows
    records = await everything(settings.kafka, settings.kafka.topics.prefix + FLOW.state)
    states = {record.key.decode(): FLOW.decode(record.value) for record in records}
    assert {state.gadget.id: (state.gadget, state.version) for state in LIVE} == {
        id: (state.gadget, state.version) for id, state in states.items()
    }
    assert all(({}, (), 1) == (s.offsets, s.recent, s.revision) for s in states.values())
    assert {b"true"} == {dict(record.headers)["replay"] for record in records}


async def test_the_sink_goes_on_from_a_filled_changelog(stored: Gadgets):
    settings, _ = await rebuilt_on(stored)
    before = await stored.values()
    world = stored.world
    world.kafka, world.topics = settings.kafka, settings.kafka.topics
    renewed = Gadgets(world, GADGETS)
    await renewed.publish(newer := gadget("b", version=4, name="newer"))

    await world.drain()

    assert [row_of(newer) if row[0] == "b" else row for row in before] == await renewed.values()
    assert (await verified(renewed)).equal


async def test_a_row_that_is_no_state_is_named(stored: Gadgets):
    await stored.world.fetch("UPDATE gadgets SET status = 'odd' WHERE id = 'c'")
    with pytest.raises(RebuildRefused, match="gadgets c cannot be restored"):
        await rebuilt_on(stored)
