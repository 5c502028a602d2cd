"""Rows equal the state: what the tables hold follows from the newest record of each cluster alone."""

import pytest

from tests.sinks.conftest import World
from tests.sinks.given import cluster, report, rescheduled, rows_of, uuid


async def test_rows_equal_the_newest_records(world: World):
    old = [cluster(n, reports=[report("dns"), report("infra", failing=True)]) for n in range(20)]
    new = [cluster(n, generation=2, phase="Failed", reports=[report("dns", 2, at=5)]) for n in range(10)]
    await world.publish(*old, *new)

    await world.drain()

    assert rows_of([*new, *old[10:]]) == await world.tables()


async def test_a_change_of_anything_reaches_its_row(world: World):
    before = cluster(reports=[report("dns"), report("infra", failing=True), report("gone")])
    after = rescheduled(
        cluster(reports=[report("dns"), report("infra", at=9), report("new")], phase="Failed"), at=40
    )
    async with world.sink():
        await world.publish(before)
        await world.drained()
        assert rows_of([before]) == await world.tables()

        await world.publish(after)
        await world.drained()

        assert rows_of([after]) == await world.tables()


async def test_a_deleted_cluster_keeps_its_row_and_reports_but_no_schedule(world: World):
    async with world.sink():
        await world.publish(cluster(reports=[report()]))
        await world.drained()
        await world.publish(gone := cluster(reports=[report()], deleted=100))
        await world.drained()

        tables = await world.tables()

    assert rows_of([gone]) == tables
    assert tables["reconciliation_schedule"] == []


async def test_a_tombstone_purges_row_reports_and_schedule(world: World):
    async with world.sink():
        await world.publish(cluster("one", reports=[report()]), other := cluster("two", reports=[report()]))
        await world.drained()
        await world.send(
            world.topics.state, [(uuid("one").encode(), None), (uuid("never seen").encode(), None)]
        )
        await world.drained()

        assert rows_of([other]) == await world.tables()


async def test_a_cluster_born_and_purged_within_one_batch_leaves_nothing(world: World):
    await world.publish(cluster(), cluster(deleted=9))
    await world.send(world.topics.state, [(uuid("one").encode(), None)])

    await world.drain()

    assert rows_of([]) == await world.tables()


async def test_reading_everything_again_changes_nothing(world: World):
    records = [cluster(n, generation=g, reports=[report(at=g)]) for g in (1, 2, 3) for n in range(10)]
    await world.publish(*records)
    await world.drain(batch_records=7)
    before = [
        await world.fetch(f"SELECT xmin, ctid, * FROM {table} ORDER BY 3, 4")
        for table in await world.tables()
    ]

    await world.fetch("UPDATE sink_offsets SET next_offset = 0")
    await world.drain(batch_records=7)

    # Not even written again with the same values: `xmin` is the transaction that wrote a row.
    assert before == [
        await world.fetch(f"SELECT xmin, ctid, * FROM {table} ORDER BY 3, 4")
        for table in await world.tables()
    ]


async def test_an_older_record_never_overwrites_a_newer_row(world: World):
    await world.publish(
        cluster(reports=[report("old")]), newest := cluster(generation=2, reports=[report("new", 2)])
    )
    await world.drain()

    # A writer that was set back, and sees the older record in a batch of its own.
    await world.fetch("UPDATE sink_offsets SET next_offset = 0")
    async with world.sink(batch_records=1, crash_after_commit=None):
        await world.drained()

    assert rows_of([newest]) == await world.tables()


async def test_large_records_are_written(world: World):
    large = [cluster(n, spec={"platform": {"type": "gcp"}, "blob": "x" * 3_000_000}) for n in range(6)]
    await world.publish(*large)

    await world.drain()

    assert rows_of(large) == await world.tables()


# --- names ----------------------------------------------------------------------------------------


async def test_a_name_is_free_again_after_a_delete(world: World):
    first, second = cluster(1, name="x", deleted=5), cluster(2, name="x", created=10)
    await world.publish(cluster(1, name="x"), first, second)

    await world.drain()

    assert rows_of([first, second]) == await world.tables()


async def test_the_new_holder_of_a_name_can_come_before_the_old_one_has_left(world: World):
    old, new = cluster(1, name="x"), cluster(2, name="x", created=10)
    async with world.sink():
        await world.publish(old)
        await world.drained()
        await world.publish(new)
        await world.drained()
        names = await world.fetch("SELECT id, deleted_at FROM clusters ORDER BY created_at")
        assert names == [
            {"id": uuid(1), "deleted_at": "2030-01-01T12:00:10Z"},  # as of the creation of the other
            {"id": uuid(2), "deleted_at": None},
        ]
        await world.publish(left := cluster(1, name="x", deleted=5))
        await world.drained()

    assert rows_of([left, new]) == await world.tables()
    assert await world.dead_letters(world.topics.state) == []


async def test_the_old_holder_of_a_name_can_come_after_the_new_one(world: World):
    new, late = cluster(2, name="x", created=10), cluster(1, name="x")
    async with world.sink():
        await world.publish(new)
        await world.drained()
        await world.publish(late, cluster(3, name="y"))
        await world.drained()
        live = await world.fetch("SELECT id FROM clusters WHERE deleted_at IS NULL ORDER BY name")
        assert live == [{"id": uuid(2)}, {"id": uuid(3)}]
        await world.publish(left := cluster(1, name="x", deleted=5))
        await world.drained()

    assert rows_of([new, left, cluster(3, name="y")]) == await world.tables()


async def test_three_holders_of_a_name_in_one_batch(world: World):
    holders = [cluster(n, name="x", created=10 * n) for n in range(3)]
    await world.publish(*holders)
    await world.drain()
    assert await world.fetch("SELECT id FROM clusters WHERE deleted_at IS NULL") == [{"id": uuid(2)}]

    left = [cluster(n, name="x", created=10 * n, deleted=10 * n + 5) for n in range(2)]
    await world.publish(*left)
    await world.drain()

    assert rows_of([*left, holders[2]]) == await world.tables()
    assert await world.dead_letters(world.topics.state) == []


# A cluster that was created under a clock a day ahead, and one that took its name now.
AHEAD, NOW = cluster(1, name="x", created=86_400), cluster(2, name="x", created=10)


async def test_a_living_cluster_that_yielded_to_a_clock_ahead_lives_again(world: World):
    async with world.sink():
        await world.publish(AHEAD)
        await world.drained()
        await world.publish(NOW)
        await world.drained()
        live = await world.fetch("SELECT id FROM clusters WHERE deleted_at IS NULL")
        assert [{"id": uuid(1)}] == live, "who is right, nobody can tell yet"
        await world.publish(left := cluster(1, name="x", created=86_400, deleted=5))
        await world.drained()

    assert rows_of([left, NOW]) == await world.tables()
    assert [] == await world.fetch("SELECT id FROM clusters WHERE yielded")


async def test_a_living_cluster_that_yielded_lives_again_when_the_other_is_purged(world: World):
    async with world.sink():
        await world.publish(AHEAD, NOW)
        await world.drained()
        await world.send(world.topics.state, [(uuid(1).encode(), None)])
        await world.drained()

    assert rows_of([NOW]) == await world.tables()


async def test_a_living_cluster_that_yielded_lives_again_whatever_came_of_it_meanwhile(world: World):
    async with world.sink():
        await world.publish(AHEAD, NOW)
        await world.drained()
        await world.publish(newer := cluster(2, name="x", created=10, generation=2))
        await world.drained()
        await world.publish(left := cluster(1, name="x", created=86_400, deleted=5))
        await world.drained()

    assert rows_of([left, newer]) == await world.tables()


@pytest.mark.parametrize("first", range(3))
async def test_of_three_that_yielded_the_last_that_lives_holds_the_name(world: World, first: int):
    """In whichever order their ends come."""
    records = [cluster(n, name="x", created=10 * n) for n in range(3)]
    order = [(first + n) % 3 for n in range(3)]
    async with world.sink():
        await world.publish(*records)
        await world.drained()
        for n in order[:2]:
            records[n] = cluster(n, name="x", created=10 * n, deleted=100)
            await world.publish(records[n])
            await world.drained()

    assert rows_of(records) == await world.tables()


async def test_a_name_that_is_held_is_not_given_back(world: World):
    async with world.sink():
        await world.publish(AHEAD, NOW, cluster(3, name="y"))
        await world.drained()
        await world.publish(cluster(3, name="y", deleted=5))
        await world.drained()

    assert [{"id": uuid(2)}] == await world.fetch("SELECT id FROM clusters WHERE yielded")
