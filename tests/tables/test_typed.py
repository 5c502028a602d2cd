"""The typed table on Faust's store: bytes per partition, taken away and brought back as rebalances do."""

from types import SimpleNamespace

import pytest
from faust.types import TP

from streams.claims import CLAIM_HEADER, CLAIM_KEY
from streams.settings import KafkaSettings
from streams.turns.app import create_app
from tables.typed import TypedTable
from tests.lanes import SilentProducer

CHANGELOG = "rows-changelog"


@pytest.fixture
def table():
    """A table of text, without a broker."""
    app = create_app(KafkaSettings(bootstrap_servers="127.0.0.1:1", partitions=3))
    return TypedTable(
        app, "rows", changelog_topic=CHANGELOG, partitions=3, decode=bytes.decode, encode=str.encode
    )


def recover(table, *records):
    """What recovery does: apply records of the changelog as (partition, key, value[, claim])."""
    for offset, record in enumerate(records):
        table._store.apply([changelog_record(offset, *record)])


def changelog_record(offset, partition, key, value, claim=None):
    headers = [] if claim is None else [(CLAIM_HEADER, b"%d" % claim)]
    return SimpleNamespace(
        topic=CHANGELOG, partition=partition, offset=offset, key=key, value=value, headers=headers
    )


CLAIM = (0, CLAIM_KEY, b"{}")


def test_what_is_stored_is_found_under_its_partition_only(table):
    table.store(1, b"k", b"v", offset=0)
    assert ("v", None, None) == (table.get(1, b"k"), table.get(0, b"k"), table.get(1, b"other"))
    assert (True, False) == (table.holds(1, b"k"), table.holds(2, b"k"))
    assert {b"k": b"v"} == dict(table.rows(1))
    assert {} == dict(table.rows(2))


def test_nothing_stored_is_removed(table):
    table.store(1, b"k", b"v", offset=0)
    table.store(1, b"k", None, offset=1)
    table.store(1, b"never", None, offset=2)
    assert table.get(1, b"k") is None
    assert not table.holds(1, b"k")
    assert {} == dict(table.rows(1))


def test_recovery_applies_values_and_tombstones_in_order(table):
    recover(table, (0, b"a", b"1"), (0, b"b", b"1"), (0, b"a", b"2"), (0, b"b", None), (2, b"c", b"3"))
    assert ({b"a": b"2"}, {b"c": b"3"}) == (dict(table.rows(0)), dict(table.rows(2)))
    assert {0, 2} == table.take_recovered()
    assert set() == table.take_recovered()


async def test_a_partition_that_goes_is_forgotten_and_told(table):
    recover(table, (0, b"a", b"1"), (1, b"b", b"1"))
    table.take_recovered()
    await table._store.on_rebalance(set(), {TP(CHANGELOG, 0), TP("another-topic", 1)}, set())
    assert table.get(0, b"a") is None
    assert table.get(1, b"b") == "1"
    assert {0} == table.take_recovered()


def test_what_was_applied_before_is_passed_over(table):
    recover(table, (0, b"a", b"1"), (0, b"a", b"2"))
    table._store.apply([changelog_record(0, 0, b"a", b"1"), changelog_record(2, 0, b"b", b"3")])
    assert {b"a": b"2", b"b": b"3"} == dict(table.rows(0))


async def test_a_partition_that_comes_back_holds_what_its_changelog_says(table):
    table.store(0, b"mine", b"old", offset=0)
    await table._store.on_rebalance(set(), {TP(CHANGELOG, 0)}, set())
    recover(table, (0, b"mine", b"new"), (0, b"theirs", b"1"))
    assert {b"mine": b"new", b"theirs": b"1"} == dict(table.rows(0))


def test_a_zombies_record_is_passed_over_and_its_key_noted(table):
    recover(table, CLAIM, (0, b"a", b"old", 0), CLAIM, (0, b"a", b"new", 2), (0, b"a", b"zombie", 0))
    assert {b"a": b"new"} == dict(table.rows(0))
    assert {0: {b"a"}} == table._store.outdated


def test_a_key_that_was_written_again_since_is_not_outdated(table):
    recover(table, CLAIM, CLAIM, (0, b"a", b"zombie", 0), (0, b"a", b"new", 1))
    assert {b"a": b"new"} == dict(table.rows(0))
    assert not table._store.outdated[0]


async def test_what_a_zombie_has_overwritten_is_written_again_under_our_claim(table):
    app, tp = table._app, TP(CHANGELOG, 0)
    producer = SilentProducer()
    written = producer.logs[tp]
    written += [None] * 9  # what is there
    app.publisher, app.claims = producer, {tp: 2}
    app.tables.recovery.active_tps.add(tp)
    app.tables.recovery.active_offsets[tp] = 8
    recover(
        table,
        CLAIM,
        (0, b"a", b"old", 0),
        CLAIM,
        *((0, b"a", b"new", 2), (0, b"a", b"zombie", 0), (0, b"gone", b"zombie", 0)),
    )
    await table._write_again([0])
    assert [(b"a", b"new", 0), (b"gone", None, 0)] == [(o.key, o.value, o.partition) for o in written[9:]]
    assert {CLAIM_HEADER: "2"} == written[9].headers
    assert ({b"a": b"new"}, 10) == (dict(table.rows(0)), app.tables.recovery.active_offsets[tp])


async def test_what_others_have_written_is_looked_into_for_the_partitions_that_are_settled_alone(table):
    """Another's commit may be under way: it has published what is not in memory yet."""
    # given records of somebody else between our own, in two partitions
    looked_into = []

    async def look_into(gap):
        looked_into.append(gap.partition)
        table._store.outdated[gap.partition].add(b"theirs")

    table._look_into = look_into
    app, producer = table._app, SilentProducer()
    app.publisher, app.claims = producer, {TP(CHANGELOG, p): 0 for p in (0, 1)}
    for partition in (0, 1):
        producer.logs[CHANGELOG, partition] += [None] * 8
        app.tables.recovery.active_tps.add(TP(CHANGELOG, partition))
        app.tables.recovery.active_offsets[TP(CHANGELOG, partition)] = 4
        table.store(partition, b"ours", b"v", offset=7)
    table._store.outdated[1].add(b"of a commit under way")

    # when one of them is settled, then the other is left for its own commit
    await table.settle([0])
    assert [0] == looked_into
    assert [b"theirs"] == [output.key for (output,) in producer.published]
    await table.settle([1])
    assert [0, 1] == looked_into
    assert [b"of a commit under way", b"theirs"] == [output.key for output in producer.published[1]]


def test_the_value_that_comes_out_went_through_the_codec(table):
    table.store(0, b"k", table.encode("ü"), offset=0)
    assert "ü" == table.get(0, b"k")
