"""The view of a simple kind, whose reader is made from the names of its columns."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import DecodeError

from streams.json import encode
from tables.entries import ColumnFilter, counted_by, entries, grouped_by, newest_first
from tables.view import BEFORE_ALL, View
from tests.tables.given import Record
from tests.tables.kinds import START, id_of, jar, jar_view, record

ALL = ColumnFilter((None, None))
IDS = ["a", "ab", "b", "ä", "jar-😀", "Z"]

changes = st.tuples(
    st.sampled_from(IDS), st.sampled_from(["red", "blue"]), st.sampled_from(["me", None]), st.booleans()
)
filters = st.builds(
    lambda *values: ColumnFilter(values),
    st.sampled_from([None, "red", "blue", "green"]),
    st.sampled_from([None, "me", "you"]),
)


def minute_of(id: str) -> int:
    """When a jar is made: some at the same time, so that the id decides."""
    return len(id.encode()) % 2


def viewed(said, wanted=None):
    """A view after these changes, asked for a list before each of them, and the last state of each jar."""
    view, states = jar_view(), {}
    for revision, (id, colour, owner, deleted) in enumerate(said, start=1):
        if wanted is not None:
            view.page(wanted, limit=1, offset=0)
        states[id] = jar(
            id, colour=colour, owner=owner, minute=minute_of(id), revision=revision, deleted=deleted
        )
        view.apply(record(states[id]))
    return view, states


def listed(states, wanted):
    """What a list of these states has to show: newest first, then by id, the greatest first."""
    live = [
        state.jar
        for state in states.values()
        if state.deleted_at is None
        and wanted[0] in (None, state.jar.colour)
        and wanted[1] in (None, state.jar.owner)
    ]
    return sorted(live, key=lambda each: (each.created_at, each.id), reverse=True)


@given(st.lists(changes, max_size=20), filters, st.integers(0, 3), st.integers(1, 3))
def test_pages_are_those_of_a_plain_list(said, wanted, offset, limit):
    view, states = viewed(said, wanted)
    expected = listed(states, wanted)
    documents, total = view.page(wanted, limit=limit, offset=offset)
    assert len(expected) == total
    assert [encode(each) for each in expected[offset : offset + limit]] == documents


@given(st.lists(changes, max_size=20))
def test_a_group_is_the_list_of_those_that_share_a_column(said):
    view, states = viewed(said)
    for owner in ("me", "you"):
        expected = [each.id for each in listed(states, ColumnFilter((None, owner)))]
        assert expected == [entry.id for entry in view.group(owner)]


@pytest.mark.parametrize(("column", "expected"), [("owner", ["a"]), ("status", [])])
def test_entities_without_the_column_or_a_value_are_in_no_group(column, expected):
    columns = ("colour", "owner")
    view = View(entries(shown="jar", columns=columns), grouped=grouped_by(column, columns))
    for offset, (id, owner) in enumerate({"a": "ann", "b": None}.items()):
        view.apply(record(jar(id, owner=owner), offset=offset))
    assert expected == [entry.id for entry in view.group("ann")]
    assert [] == view.group("")


@given(st.lists(changes, max_size=20), filters, st.integers(1, 3))
def test_walking_behind_places_shows_the_whole_list(said, wanted, limit):
    view, states = viewed(said)
    place, walked = BEFORE_ALL, []
    while page := view.after(wanted, place, limit=limit):
        walked += page
        place = newest_first(START.replace(minute=minute_of(page[-1].id)), page[-1].id)
    assert [each.id for each in listed(states, wanted)] == [entry.id for entry in walked]


@given(st.lists(changes, max_size=20))
def test_live_entities_are_counted(said):
    view, states = viewed(said)
    colours = [state.jar.colour for state in states.values() if state.deleted_at is None]
    assert {colour: colours.count(colour) for colour in view.counts()} == view.counts()
    assert len(colours) == len(view)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), max_size=8))
def test_places_of_one_moment_sort_by_id_downwards(ids):
    by_place = sorted(ids, key=lambda id: newest_first(START, id))
    assert sorted(ids, reverse=True) == by_place


def test_an_entry_shows_the_document_and_the_version():
    view, state = jar_view(), jar("a", version=7, owner="me")
    view.apply(record(state))
    entry = view.get("a")
    assert ("a", "7", encode(state.jar), ("red", "me")) == (
        entry.id,
        entry.version,
        entry.document,
        entry.columns,
    )
    assert {ALL, ColumnFilter(("red", None)), ColumnFilter((None, "me")), ColumnFilter(("red", "me"))} == set(
        entry.filters()
    )


def test_a_member_without_a_value_is_only_in_lists_of_any():
    view = jar_view()
    view.apply(record(jar("a", owner=None)))
    assert {ALL, ColumnFilter(("red", None))} == set(view.get("a").filters())
    assert ([], 0) == view.page(ColumnFilter((None, "me")), limit=1, offset=0)


def test_a_new_version_of_the_same_document_shares_it():
    view = jar_view()
    view.apply(record(jar("a")))
    document = view.get("a").document
    assert view.apply(record(jar("a", revision=2, version=2))) is None
    assert view.get("a").version == "2"
    assert view.get("a").document is document


@pytest.mark.parametrize(
    "gone",
    [
        pytest.param(record(jar("a", revision=2, deleted=True)), id="deleted"),
        pytest.param(Record(b"a", None), id="tombstone"),
    ],
)
def test_what_is_gone_is_in_no_list(gone):
    view = jar_view()
    view.apply(record(jar("a")))
    view.apply(record(jar("b")))
    assert 2 == view.page(ALL, limit=2, offset=0)[1]
    change = view.apply(gone)
    assert ("a", None) == (change.before.id, change.after)
    assert view.get("a") is None
    documents, total = view.page(ALL, limit=2, offset=0)
    assert (["b"], 1) == ([id_of(each) for each in documents], total)


async def test_a_wait_ends_when_the_revision_is_shown():
    view, shown = jar_view(), asyncio.get_running_loop().create_future()
    view.when_shown("a", 2, shown)
    view.apply(record(jar("a", revision=1)))
    assert not shown.done()
    view.apply(record(jar("a", revision=2, deleted=True)))
    assert shown.done()


def test_a_document_without_its_time_is_unreadable():
    view = jar_view()
    with pytest.raises(DecodeError):
        view.apply(Record(b"a", b'{"revision":1,"version":1,"jar":{"id":"a","colour":"red"}}'))
    assert view.get("a") is None


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        pytest.param("owner", {"ann": 2, "": 1}, id="a column, which one document lacks"),
        pytest.param("status", {"": 3}, id="a column that the kind lacks"),
    ],
)
def test_entries_are_counted_by_one_column(column, expected):
    columns = ("colour", "owner")
    view = View(entries(shown="jar", columns=columns), counted=counted_by(column, columns))
    for offset, (id, owner) in enumerate({"a": "ann", "b": "ann", "c": None}.items()):
        view.apply(record(jar(id, owner=owner), offset=offset))
    assert expected == view.counts()


def test_a_kind_without_columns_has_one_list():
    view = View(entries(shown="jar"))
    view.apply(record(jar("a")))
    assert [ColumnFilter()] == list(view.get("a").filters())
    assert 1 == view.page(ColumnFilter(), limit=1, offset=0)[1]
    assert {"": 1} == view.counts()
