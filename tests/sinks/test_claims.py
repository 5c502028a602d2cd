"""A worker that was replaced may still write: no row of its stands, wherever a sink begins to read."""

import pytest

from domain.values import replace
from streams.claims import CLAIM_HEADER, CLAIM_KEY
from streams.json import encode
from tests.sinks.changelog import Changelog
from tests.sinks.conftest import World
from tests.sinks.given import cluster, rows_of


async def test_a_record_behind_a_later_claim_leaves_no_row(world: World):
    log = Changelog(world)
    await log.claim()
    await log.write(cluster("old"))
    await log.claim()
    await log.write(new := cluster("old", generation=2))
    await log.write(cluster("old", generation=2, phase="Failed"), by=0)
    await log.write(cluster("never there"), by=0)

    await world.drain()

    assert rows_of([new]) == await world.tables()
    assert [] == await world.dead_letters(world.topics.state)


async def test_a_sink_that_begins_behind_the_claim_still_knows_it(world: World):
    log = Changelog(world)
    await log.claim()
    await log.claim()
    await log.write(new := cluster(generation=2))
    await world.drain()
    await log.write(cluster(generation=3), by=0)

    await world.drain()

    assert rows_of([new]) == await world.tables()


async def test_a_batch_that_is_written_in_parts_keeps_each_parts_claim(world: World):
    log = Changelog(world)
    await log.claim()
    refused = cluster("refused", name="n" * 300)  # no column takes it: the batch is halved around it
    await log.write(refused)
    await log.write(kept := cluster("kept"))
    await log.claim()
    await log.write(late := cluster("late"))
    async with world.sink(batch_records=500):
        await world.drained()
        claims = await world.fetch(
            "SELECT claim FROM sink_offsets WHERE topic = $1 AND partition = 0", world.topics.state
        )

    assert rows_of([kept, late]) == await world.tables()
    assert [{"claim": log.claims[-1]}] == claims
    assert [refused.cluster.id.encode()] == [r.key for r in await world.dead_letters(world.topics.state)]
    assert CLAIM_KEY not in {r.key for r in await world.dead_letters(world.topics.state)}


@pytest.mark.parametrize(
    "header", [None, b"9" * 5000, b"%d" % 10**18, b"none"], ids=["null", "5,000 digits", "10^18", "a word"]
)
async def test_a_record_of_a_stranger_leaves_no_row_and_stops_nothing(world: World, header):
    log = Changelog(world)
    await log.claim()
    await log.write(old := cluster("old"))
    stray = replace(cluster("old", generation=9), revision=99)
    await world._producer.send_and_wait(
        world.topics.state,
        encode(stray),
        key=old.cluster.id.encode(),
        partition=0,
        headers=[(CLAIM_HEADER, header)],
    )
    await log.write(new := cluster("new"))

    await world.drain()

    assert rows_of([old, new]) == await world.tables()


async def test_a_sink_that_has_believed_an_impossible_claim_reads_its_partition_again(world: World):
    log = Changelog(world)
    await log.claim()
    await log.write(first := cluster("first"))
    await world.drain()
    await log.write(missed := cluster("missed"))
    ends = (await world.positions())[world.topics.state, 0] + 1
    believed = (
        "UPDATE sink_offsets SET claim = 10^18::bigint, next_offset = $2 WHERE topic = $1 AND partition = 0"
    )
    await world.fetch(believed, world.topics.state, ends)
    await log.write(later := cluster("later"))

    await world.drain()

    assert rows_of([first, missed, later]) == await world.tables()


async def test_what_a_rebuild_needs_is_kept(world: World):
    record = replace(
        cluster(),
        secrets={"serviceAccountSigningKey": "a..b.c.d"},
        first_report_at=cluster().cluster.created_at,
    )
    await world.publish(record)
    await world.drain()
    (row,) = await world.fetch("SELECT secrets, first_report_at FROM clusters")
    assert dict(record.secrets) == row["secrets"]
    assert "2030-01-01T12:00:00Z" == row["first_report_at"]
