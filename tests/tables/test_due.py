"""The index of what is due, against the plain list it replaces."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tables.due import DueIndex

START = datetime(2026, 1, 1, tzinfo=UTC)


def after(seconds: int) -> datetime:
    return START + timedelta(seconds=seconds)


keys = st.sampled_from([b"a", b"b", b"c", b"d"])
moments = st.none() | st.integers(0, 20)
settings = st.tuples(st.integers(0, 1), keys, moments)


@given(st.lists(settings, max_size=40), st.integers(0, 20))
def test_due_are_the_keys_whose_last_moment_has_come(said, now):
    index, plain = DueIndex(), {}
    for partition, key, moment in said:
        index.set(partition, key, None if moment is None else after(moment))
        plain[partition, key] = moment
    for partition in (0, 1):
        due = {k for (p, k), m in plain.items() if p == partition and m is not None and m <= now}
        assert due == {key for _, key in index.due(partition, after(now))}


@given(st.lists(settings, max_size=40))
def test_asking_takes_nothing_away(said):
    index = DueIndex()
    for partition, key, moment in said:
        index.set(partition, key, None if moment is None else after(moment))
    assert sorted(index.due(0, after(20))) == sorted(index.due(0, after(20)))


def test_a_key_written_often_does_not_grow_the_index():
    index = DueIndex()
    for second in range(10_000):
        index.set(0, b"a", after(second))
    assert len(index._sleeping[0]) < 100


def test_what_is_not_due_is_not_looked_at():
    index = DueIndex()
    for number in range(100_000):
        index.set(0, b"%d" % number, after(3600 + number))
    index.set(0, b"due", after(0))
    heap = index._sleeping[0]
    before = len(heap)
    assert [(after(0), b"due")] == index.due(0, after(10))
    assert before - 1 == len(heap)


def test_a_partition_that_comes_back_is_indexed_from_its_rows_alone():
    index = DueIndex()
    index.set(0, b"gone", after(0))
    index.clear(0)
    index.set(0, b"new", after(5))
    assert [(after(5), b"new")] == index.due(0, after(10))


@given(st.lists(settings, max_size=40))
def test_the_earliest_is_the_first_moment_that_still_holds(said):
    index, plain = DueIndex(), {}
    for partition, key, moment in said:
        index.set(partition, key, None if moment is None else after(moment))
        plain[partition, key] = moment
    for partition in (0, 1):
        held = [m for (p, _), m in plain.items() if p == partition and m is not None]
        assert (after(min(held)) if held else None) == index.earliest(partition)


ordered_settings = st.tuples(st.integers(0, 1), keys, moments, st.integers(0, 20))


@given(
    st.lists(st.one_of(ordered_settings, st.integers(0, 20)), max_size=40),
    st.integers(0, 20),
    st.integers(0, 5),
)
def test_of_those_due_the_first_in_order_come_and_all_are_counted(said, now, limit):
    """A number among the settings is a look at that time; looks at other times change nothing."""
    index, plain = DueIndex(), {}
    for one in said:
        if isinstance(one, int):
            index.due(0, after(one), 2)
            continue
        partition, key, moment, order = one
        index.set(partition, key, None if moment is None else after(moment), after(order))
        plain[partition, key] = (moment, order)
    for partition in (0, 1):
        due = sorted(
            (after(order), key)
            for (place, key), (moment, order) in plain.items()
            if place == partition and moment is not None and moment <= now
        )
        assert due[:limit] == sorted(index.due(partition, after(now), limit))
        assert due == sorted(index.due(partition, after(now)))
        assert len(due) == index.count_due(partition, after(now))


@given(st.lists(ordered_settings, max_size=40), st.integers(0, 20), st.sets(keys))
def test_after_a_look_all_that_is_due_is_awake(said, now, some):
    index = DueIndex()
    for partition, key, moment, order in said:
        index.set(partition, key, None if moment is None else after(moment), after(order))
    for partition in (0, 1):
        index.due(partition, after(now), 1)
        assert index.count_due(partition, after(now)) == index.count_awake(partition)
        due = {key for _, key in index.due(partition, after(now))}
        assert due & some == {key for key in some if index.awake(partition, key)}
