"""The change feed over the view of a simple kind."""

import pytest

from domain.errors import Rejected
from tables.cluster import ClusterView
from tables.entries import ColumnFilter
from tables.feed import Feed, FellBehind, Watched, Watcher
from tests.tables.given import NOW
from tests.tables.kinds import id_of, jar, jar_view, record

ALL = Watched(ColumnFilter((None, None)))
BLUE = Watched(ColumnFilter(("blue", None)))


def feed_of(*states, **bounds) -> Feed:
    feed = Feed(jar_view(), topic="jar-state", clock=lambda: NOW, **bounds)
    for offset, state in enumerate(states):
        feed.apply(record(state, offset))
    return feed


def told(watcher: Watcher) -> list[tuple[str, str]]:
    """Kind and jar of what is next, without bookmarks."""
    return [(event.kind, id_of(event.document)) for event in watcher.take() if event.kind != "BOOKMARK"]


def test_what_is_there_is_listed_then_followed():
    feed = feed_of(jar("a"), jar("b"), jar("c", minute=1))
    watcher = feed.watch(ALL)
    assert [("ADDED", "c"), ("ADDED", "b"), ("ADDED", "a")] == told(watcher)
    feed.apply(record(jar("a", revision=2, label="full"), 3))
    feed.apply(record(jar("b", revision=2, deleted=True), 4))
    assert [("MODIFIED", "a"), ("DELETED", "b")] == told(watcher)


def test_a_filter_is_a_border_that_entities_cross():
    feed = feed_of(jar("a"))
    watcher = feed.watch(BLUE)
    assert [] == told(watcher)
    feed.apply(record(jar("a", revision=2, colour="blue"), 1))
    feed.apply(record(jar("a", revision=3, colour="green"), 2))
    feed.apply(record(jar("a", revision=4, colour="red"), 3))
    assert [("ADDED", "a"), ("DELETED", "a")] == told(watcher)


def test_a_change_of_what_is_not_listed_yet_is_told_once():
    feed = feed_of(jar("a"), jar("b"), jar("c"))
    watcher = feed.watch(ALL)
    assert ["c"] == [id_of(event.document) for event in watcher.take(1)]
    feed.apply(record(jar("a", revision=2, label="full"), 3))
    feed.apply(record(jar("c", revision=2, label="full"), 4))
    assert [("MODIFIED", "c"), ("ADDED", "b"), ("ADDED", "a")] == told(watcher)


def test_the_watch_of_one_entity_ends_with_it():
    feed = feed_of(jar("a"), jar("b"))
    watcher = feed.watch(Watched(ColumnFilter((None, None)), "a"))
    assert [("ADDED", "a")] == told(watcher)
    feed.apply(record(jar("b", revision=2, label="full"), 2))
    feed.apply(record(jar("a", revision=2, deleted=True), 3))
    assert [("DELETED", "a")] == told(watcher)
    assert watcher.ended


def test_each_ring_has_bounds_of_its_own():
    small, large = feed_of(max_changes=1), feed_of(max_changes=2)
    watchers = [feed.watch(ALL) for feed in (small, large)]
    for watcher in watchers:
        watcher.take()
    for feed in (small, large):
        feed.apply(record(jar("a"), 0))
        feed.apply(record(jar("b"), 1))
    assert [("ADDED", "a"), ("ADDED", "b")] == told(watchers[1])
    with pytest.raises(FellBehind):
        watchers[0].take()


def test_tokens_of_two_kinds_never_meet():
    jars, clusters = feed_of(jar("a")), Feed(ClusterView(), topic="cluster-state")
    for feed in (jars, clusters):
        feed.identify("one kafka")
    assert (1,) == jars.position_of(jars.token((1,)))
    with pytest.raises(Rejected) as refusal:
        clusters.position_of(jars.token((1,)))
    assert "WATCH_EXPIRED" == refusal.value.code
