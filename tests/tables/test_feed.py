"""The change feed: what watchers are told, from where on, and under which ids."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import DecodeError

from domain.errors import Rejected
from streams.topic import STATE_HISTORY
from tables.cluster import ClusterView, Filter
from tables.feed import Feed, FellBehind, Watched, Watcher
from tests.tables.given import NOW, Record, document, value

LAG = STATE_HISTORY.total_seconds()
EVERYTHING = Watched(Filter())


def feed_of(*records: Record, now: float = NOW, **bounds: Any) -> Feed:
    feed = Feed(ClusterView(), topic="cluster-state", clock=lambda: now, **bounds)
    for record in records:
        feed.apply(record)
    return feed


def state(id: str, offset: int, *, partition=0, revision=None, at=NOW, deleted=False, **shown: Any) -> Record:
    """A record whose document has the offset as version, where nothing else is said."""
    shown.setdefault("version", offset)
    body = value(
        document(id, **shown), revision=offset + 1 if revision is None else revision, deleted=deleted
    )
    return Record(id.encode(), body, partition, offset, at * 1000)


def told(watcher: Watcher, about: int = 10**9) -> list[tuple[str, str, int]]:
    """Kind, cluster and version of what is next, without bookmarks."""
    events = [(e.kind, json.loads(e.document)) for e in watcher.take(about) if e.kind != "BOOKMARK"]
    return [(kind, cluster["id"], cluster["generation"]) for kind, cluster in events]


# --- the current state, and what follows ----------------------------------------------------------------


def test_the_current_state_is_listed_then_marked_then_followed():
    feed = feed_of(state("a", 0), state("b", 1, minute=1))
    watcher = feed.watch(EVERYTHING)
    listed = watcher.take()
    assert ["ADDED", "ADDED", "BOOKMARK"] == [event.kind for event in listed]
    assert ["", "", feed.token((2,))] == [event.token for event in listed]
    assert feed.view.get("b").document is listed[0].document, "documents are shared with the view"
    feed.apply(state("a", 2))
    (event,) = watcher.take()
    assert ("MODIFIED", feed.token((3,)), feed.view.get("a").document) == (
        event.kind,
        event.token,
        event.document,
    )
    assert [] == watcher.take()


def test_what_changes_while_it_is_listed_is_told_once():
    feed = feed_of(*[state(f"c{n}", n, minute=10 - n) for n in range(4)])
    watcher = feed.watch(EVERYTHING)
    assert [("ADDED", "c0", 0)] == told(watcher, about=1)
    feed.apply(state("c0", 4, minute=10))  # listed: a change to tell
    feed.apply(state("c2", 5, minute=8))  # not listed yet: the list will show it
    feed.apply(state("c3", 6, minute=7, deleted=True))  # will not be listed
    feed.apply(state("new", 7, minute=20))  # stands before what is listed
    assert [("MODIFIED", "c0", 4), ("ADDED", "new", 7), ("ADDED", "c1", 1), ("ADDED", "c2", 5)] == told(
        watcher
    )


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ({"phase": "Pending"}, {"phase": "Ready"}, "ADDED"),
        ({"phase": "Ready"}, {"phase": "Ready", "padding": "x"}, "MODIFIED"),
        ({"phase": "Ready"}, {"phase": "Failed"}, "DELETED"),
        ({"phase": "Ready"}, {"phase": "Ready", "deleted": True}, "DELETED"),
        ({"phase": "Pending"}, {"phase": "Failed"}, None),
        ({"phase": "Pending"}, {"phase": "Pending", "deleted": True}, None),
        ({"phase": "Ready", "owner": "else@b.cd"}, {"phase": "Ready", "owner": "else@b.cd"}, None),
    ],
)
def test_a_filter_is_a_border_that_clusters_cross(before, after, kind):
    feed = feed_of(state("a", 0, **before))
    watcher = feed.watch(Watched(Filter(owner="a@b.cd", phase="ready")))
    watcher.take()
    feed.apply(state("a", 1, **after))
    assert ([] if kind is None else [kind]) == [event.kind for event in watcher.take()]


def test_a_record_that_changes_no_document_is_no_change_but_moves_the_position():
    feed = feed_of(state("a", 0, version=1))
    watcher = feed.watch(EVERYTHING)
    watcher.take()
    feed.apply(state("a", 1, version=1))
    assert [] == watcher.take()
    assert feed.token((2,)) == watcher.bookmark().token
    assert watcher.bookmark() is None


def test_a_bookmark_waits_for_what_is_not_taken_yet():
    feed = feed_of(state("a", 0))
    watcher = feed.watch(EVERYTHING)
    assert watcher.bookmark() is None
    watcher.take()
    feed.apply(state("a", 1))
    assert watcher.bookmark() is None
    assert [("MODIFIED", "a", 1)] == told(watcher)
    assert watcher.bookmark() is None, "the change has told the position"


def test_the_watch_of_one_cluster_ends_with_it():
    feed = feed_of(state("a", 0), state("b", 1))
    watcher = feed.watch(Watched(Filter(), "a"))
    assert [("ADDED", "a", 0)] == told(watcher)
    feed.apply(state("b", 2))
    feed.apply(state("a", 3))
    feed.apply(state("a", 4, deleted=True))
    feed.apply(state("b", 5))
    assert [("MODIFIED", "a", 3), ("DELETED", "a", 3)] == told(watcher)
    assert watcher.ended


# --- positions ------------------------------------------------------------------------------------------

LONG_AGO, OLD, YOUNG = NOW - 24 * 3600, NOW - LAG + 60, NOW - 60


def test_a_reader_goes_on_at_another_process_that_has_read_in_another_order():
    records = [state(f"p{p}", o, partition=p) for p in range(2) for o in range(3)]
    here, there = feed_of(*records), feed_of(*sorted(records, key=lambda r: (r.offset, -r.partition)))
    watcher = there.watch(EVERYTHING, here.position_of(here.token((1, 2))))
    events = watcher.take()
    shown = [json.loads(event.document) for event in events[:-1]]
    assert [("p0", 1), ("p1", 2), ("p0", 2)] == [(each["id"], each["generation"]) for each in shown]
    tokens = [there.position_of(event.token) for event in events]
    assert [(2, 2), (2, 3), (3, 3), (3, 3)] == tokens, "never back"


def test_an_id_never_goes_back_behind_what_the_reader_has_seen_elsewhere():
    records = [state(f"p{p}", o, partition=p) for o in range(3) for p in range(2)]
    there = feed_of(*records)
    watcher = there.watch(EVERYTHING, (0, 3))  # its process had read the second partition first
    tokens = [there.position_of(event.token) for event in watcher.take()]
    assert [(1, 3), (2, 3), (3, 3), (3, 3)] == tokens


def test_a_process_tells_whether_it_has_read_up_to_a_position():
    feed = feed_of(*(state("a", offset) for offset in range(3)))
    assert not feed.has_read((3, 1))
    feed.apply(state("b", 0, partition=1))
    assert feed.has_read((3, 1))
    assert [feed.token((3, 1))] == [event.token for event in feed.watch(EVERYTHING, (3, 1)).take()]


@pytest.mark.parametrize(
    ("records", "known", "unknown"),
    [
        pytest.param([], [()], [], id="nothing read"),
        pytest.param([state("a", 0, at=LONG_AGO)], [(), (0,), (1,)], [], id="whole from the beginning"),
        pytest.param([state("a", 5, at=YOUNG)], [(5,), (6,)], [(), (4,)], id="begins with a young record"),
        pytest.param([state("a", 5, at=LONG_AGO)], [(6,)], [(5,), ()], id="begins with an old record"),
        pytest.param([state("a", 5, at=OLD)], [(6,)], [(5,)], id="too near to the broker's hour"),
        pytest.param(
            [state("a", 0, at=LONG_AGO), state("a", 3, at=YOUNG)], [(3,), (4,)], [(2,), ()], id="a gap"
        ),
        pytest.param(
            [state("a", 0), state("b", 3, at=LONG_AGO), state("a", 4, at=YOUNG), state("a", 5, at=LONG_AGO)],
            [(6,)],
            [(5,), (4,)],
            id="an old record behind a young one",
        ),
        pytest.param(
            [state("a", 0), state("b", 7, partition=2)],
            [(0, 0, 7), (1, 0, 8)],
            [(1,), (1, 0, 6)],
            id="partitions",
        ),
    ],
)
def test_from_where_on_every_change_is_known(records, known, unknown):
    feed = feed_of(*records)
    for position in known:
        feed.watch(EVERYTHING, position)
    for position in unknown:
        with pytest.raises(Rejected) as refusal:
            feed.watch(EVERYTHING, position)
        assert "WATCH_EXPIRED" == refusal.value.code


@pytest.mark.parametrize(
    "bounds",
    [pytest.param({"max_changes": 2}, id="in number"), pytest.param({"max_bytes": 2500}, id="in bytes")],
)
def test_what_the_ring_drops_is_no_longer_known(bounds):
    feed = feed_of(*[state("a", n, padding="x" * 1000) for n in range(3)], **bounds)
    slow = feed.watch(EVERYTHING, (1,))
    with pytest.raises(Rejected):
        feed.watch(EVERYTHING, (0,))
    feed.apply(state("a", 3, padding="x" * 1000))
    with pytest.raises(FellBehind):
        slow.take()


def test_one_document_larger_than_the_ring_is_still_told():
    feed = feed_of(state("a", 0), max_bytes=100)
    watcher = feed.watch(EVERYTHING)
    watcher.take()
    feed.apply(state("a", 1, padding="x" * 1000))
    assert [("MODIFIED", "a", 1)] == told(watcher)


def test_a_log_that_was_cut_off_and_grew_again_lets_every_reader_go():
    feed = feed_of(*[state("a", n) for n in range(5)], state("b", 0, partition=1))
    watcher = feed.watch(EVERYTHING)
    watcher.take()
    tokens = [feed.token((2, 1)), feed.token((5, 1))]
    feed.apply(state("a", 2, revision=9))
    with pytest.raises(FellBehind):
        watcher.take()
    for token in tokens:
        with pytest.raises(Rejected):
            feed.position_of(token)


def test_records_that_nobody_can_read_are_passed():
    feed = feed_of(state("a", 0))
    with pytest.raises(DecodeError):
        feed.apply(Record(b"a", b"{", offset=1))
    watcher = feed.watch(EVERYTHING, (1,))
    feed.apply(state("a", 2))
    assert [("MODIFIED", "a", 2)] == told(watcher)
    assert (3,) == feed.position


def test_a_tombstone_deletes_with_the_last_document():
    feed = feed_of(state("a", 0))
    watcher = feed.watch(EVERYTHING)
    watcher.take()
    feed.apply(Record(b"a", None, offset=1))
    feed.apply(Record(b"a", None, offset=2))
    assert [("DELETED", "a", 0)] == told(watcher)


# --- ids ------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=12))
def test_an_id_stands_for_its_position(offsets):
    feed = feed_of()
    feed.identify("one", "a topic's id")
    assert tuple(offsets) == feed.position_of(feed.token(tuple(offsets)))


@pytest.mark.parametrize("other", [("two", "x"), ("one", "y"), ("one", None)])
def test_the_id_of_another_log_has_expired(other):
    here, there = feed_of(), feed_of()
    here.identify("one", "x")
    there.identify(*other)
    with pytest.raises(Rejected) as refusal:
        here.position_of(there.token((1,)))
    assert "WATCH_EXPIRED" == refusal.value.code


@pytest.mark.parametrize(
    "token",
    ["", "x", "1", "000000000000", "000000000000/", "000000000000/-1", "000000000000/1.", "000000000000/1..2",
     "000000000000/1,2", "000000000000/" + "9" * 20, " 000000000000/1", "000000000000/1\n", "00000000000G/1",
     "000000000000/\u0661", "000000000000/" + "1." * 5000 + "1"],
)  # fmt: skip
def test_what_is_no_id_is_refused(token):
    with pytest.raises(Rejected) as refusal:
        feed_of().position_of(token)
    assert "VALIDATION_FAILED" == refusal.value.code


# --- waiting --------------------------------------------------------------------------------------------


async def test_all_who_wait_are_told_of_a_change_and_of_the_end():
    feed = feed_of(state("a", 0))
    waiting = [asyncio.create_task(feed.grown(1)) for _ in range(3)]
    await asyncio.sleep(0)
    feed.apply(state("a", 1))
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
    later = asyncio.create_task(feed.grown(2))
    await asyncio.sleep(0)
    assert not later.done()
    feed.close()
    await asyncio.wait_for(later, 5)
