"""Records of queues: which are settled, and whose turn it is."""

from types import SimpleNamespace

from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from executors.queue import Lines, Positions


def record(offset: int, *, partition: int = 0, key: bytes | None = b"k") -> SimpleNamespace:
    return SimpleNamespace(topic="q", partition=partition, offset=offset, key=key)


def place(partition: int = 0) -> TopicPartition:
    return TopicPartition("q", partition)


# --- positions ------------------------------------------------------------------------------------------


def test_a_position_waits_for_the_first_record_that_is_not_settled():
    positions = Positions()
    records = [record(offset) for offset in (4, 5, 8)]
    for each in records:
        positions.read(each)
    positions.settle(records[1])
    assert {} == positions.to_commit()
    positions.settle(records[0])
    assert {place(): 6} == positions.to_commit()
    positions.settle(records[2])
    assert {place(): 9} == positions.to_commit()
    assert 0 == positions.open


def test_what_is_committed_is_not_committed_again():
    positions = Positions()
    positions.read(record(1))
    positions.settle(record(1))
    positions.committed(positions.to_commit())
    assert {} == positions.to_commit()


def test_a_partition_that_went_away_has_no_position():
    # given records of two partitions
    positions = Positions()
    for partition in (0, 1):
        positions.read(record(1, partition=partition))

    # when one goes to another executor
    positions.forget([place(0)])

    # then its records are not ours, and settling them says nothing
    assert not positions.owns(record(1))
    positions.settle(record(1))
    positions.settle(record(1, partition=1))
    assert {place(1): 2} == positions.to_commit()


@given(st.lists(st.integers(1, 3), min_size=1, max_size=30), st.data())
def test_a_position_is_never_beyond_a_record_that_is_not_settled(gaps, data):
    positions, offsets, at = Positions(), [], 0
    for gap in gaps:
        at += gap
        offsets.append(at)
        positions.read(record(at))
    for offset in data.draw(st.permutations(offsets)):
        positions.settle(record(offset))
        offsets.remove(offset)
        reached = positions.to_commit().get(place(), 0)
        assert all(reached <= left for left in offsets)
        assert positions.open >= len(offsets)
    assert {place(): at + 1} == positions.to_commit()


# --- lines ----------------------------------------------------------------------------------------------


def test_records_of_one_key_wait_for_each_other_and_others_do_not():
    lines = Lines()
    first, second, other = record(1), record(2), record(3, key=b"j")
    assert [True, False, True] == [lines.join(each) for each in (first, second, other)]
    assert second is lines.leave(first)
    assert lines.leave(second) is None
    assert lines.join(record(4))


@given(st.lists(st.sampled_from([b"a", b"b", None]), max_size=40))
def test_each_line_keeps_its_order(keys):
    lines = Lines()
    records = [record(offset, key=key) for offset, key in enumerate(keys)]
    current = [each for each in records if lines.join(each)]
    done = []
    while current:
        each = current.pop(0)
        done.append(each)
        if (following := lines.leave(each)) is not None:
            current.append(following)
    for key in {*keys}:
        assert [each for each in records if each.key == key] == [each for each in done if each.key == key]
