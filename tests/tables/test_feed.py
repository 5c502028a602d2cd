"""The change feed: whatever happens to readers and processes, nobody misses a change or sees one twice."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from msgspec import DecodeError

from domain.errors import Rejected
from streams.topics import STATE_HISTORY
from tables.feed import Feed, FellBehind, Watched, Watcher
from tables.views import ClusterView, Filter
from tests.tables.given import NOW, Record, document, value

PARTITIONS, READERS, PROCESSES = 3, 3, 2
LAG = STATE_HISTORY.total_seconds()
EVERYTHING = Watched(Filter())


def feed_of(*records: Record, now: float = NOW, **bounds: Any) -> Feed:
    feed = Feed(ClusterView(), clock=lambda: now, **bounds)
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


def test_a_process_behind_the_position_leaves_out_what_the_reader_knows():
    feed = feed_of(state("a", 0))
    watcher = feed.watch(EVERYTHING, (3, 1))
    assert not feed.has_read((3, 1))
    assert feed.token((3, 1)) == watcher.take()[-1].token
    for offset in (1, 2):
        feed.apply(state("a", offset))
    feed.apply(state("b", 0, partition=1))
    assert [] == watcher.take()
    feed.apply(state("a", 3))
    (event,) = watcher.take()
    assert ("MODIFIED", feed.token((4, 1))) == (event.kind, event.token)
    assert feed.has_read((3, 1))


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
            [(0, 0, 7), (1, 9, 8)],
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
    feed.identify("one", "cluster-state")
    assert tuple(offsets) == feed.position_of(feed.token(tuple(offsets)))


@pytest.mark.parametrize("other", [("two", "cluster-state"), ("one", "test.cluster-state")])
def test_the_id_of_another_log_has_expired(other):
    here, there = feed_of(), feed_of()
    here.identify("one", "cluster-state")
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


# --- random histories -----------------------------------------------------------------------------------


@dataclass
class Cluster:
    """The truth about one cluster."""

    partition: int
    version: int = 0
    revision: int = 0
    births: int = 0
    shown: bytes | None = None
    filters: tuple[str, str] = ("", "")


@dataclass
class Reader:
    """A client that keeps what it is told, and checks that it fits to what it was told before."""

    wanted: Filter
    held: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    token: str | None = None
    watcher: Any = None
    process: int = 0

    def forget(self) -> None:
        self.held, self.versions, self.token, self.watcher = {}, {}, None, None

    def see(self, event: Any, *, gapless: bool) -> None:
        self.token = event.token or self.token
        if event.kind == "BOOKMARK":
            assert json.loads(event.document) == {"last_event_id": event.token}
            return
        cluster = json.loads(event.document)
        id, version = cluster["id"], cluster["generation"]
        assert (id in self.held) == (event.kind != "ADDED"), f"{event.kind} of {id}"
        if event.kind == "DELETED":
            del self.held[id]
            self.versions[id] = max(version, self.versions[id])
            return
        before = self.versions.get(id)
        assert before is None or version > before, "a change came twice, or an older one after a newer"
        if gapless and before is not None and self.wanted == Filter():
            assert version == before + 1, "a change was lost"
        self.held[id], self.versions[id] = event.document, version


class Worlds(RuleBasedStateMachine):
    """Clusters change, the broker compacts, processes fall behind and restart, readers come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.log: list[list[Record]] = [[] for _ in range(PARTITIONS)]
        self.ends = [0] * PARTITIONS
        self.clusters = {f"c{n}": Cluster(partition=n % PARTITIONS) for n in range(5)}
        self.gapless = True
        self.compacted = False
        self.ring = 1000
        self.feeds: list[Feed] = []
        self.read: list[list[int]] = []
        for _ in range(PROCESSES):
            self.feeds.append(self.new_feed())
            self.read.append([0] * PARTITIONS)
        kinds = (Filter(), Filter(owner="a"), Filter(platform="aws", phase="ready"))
        self.readers = [Reader(kind) for kind in kinds]

    def new_feed(self) -> Feed:
        return Feed(ClusterView(), max_changes=self.ring, clock=lambda: self.now)

    def append(self, partition: int, key: str, data: bytes | None) -> None:
        offset = self.ends[partition]
        self.ends[partition] += 1
        self.log[partition].append(Record(key.encode(), data, partition, offset, self.now * 1000))

    # --- the log

    @rule(
        id=st.sampled_from([f"c{n}" for n in range(5)]),
        platform=st.sampled_from(["gcp", "aws"]),
        phase=st.sampled_from(["Pending", "Ready"]),
    )
    def write(self, id, platform, phase):
        cluster = self.clusters[id]
        if cluster.shown is None:
            cluster.births += 1
        cluster.version += 1
        cluster.revision += 1
        owner = "a" if int(id[1]) % 2 else "b"
        minute = int(id[1]) + 10 * cluster.births
        cluster.shown = document(
            id, version=cluster.version, owner=owner, platform=platform, phase=phase, minute=minute
        )
        cluster.filters = (platform, phase.lower())
        self.append(cluster.partition, id, value(cluster.shown, revision=cluster.revision))

    @rule(id=st.sampled_from([f"c{n}" for n in range(5)]))
    def move_a_schedule(self, id):
        cluster = self.clusters[id]
        if cluster.shown is not None:
            cluster.revision += 1
            self.append(cluster.partition, id, value(cluster.shown, revision=cluster.revision))

    @rule(id=st.sampled_from([f"c{n}" for n in range(5)]), purged=st.booleans())
    def delete(self, id, purged):
        cluster = self.clusters[id]
        if cluster.shown is not None:
            cluster.revision += 1
            self.append(cluster.partition, id, value(cluster.shown, revision=cluster.revision, deleted=True))
            cluster.shown = None
        if purged:
            self.append(cluster.partition, id, None)
            cluster.revision = 0

    @rule(id=st.sampled_from([f"c{n}" for n in range(5)]), partition=st.integers(0, PARTITIONS - 1))
    def garbage(self, id, partition):
        self.append(partition, "x", b"{")

    @rule(id=st.sampled_from([f"c{n}" for n in range(5)]))
    @precondition(lambda self: not self.compacted)
    def a_zombie_writes(self, id):
        cluster = self.clusters[id]
        if cluster.shown is not None and cluster.revision > 1:
            self.gapless_zombies = True
            self.append(cluster.partition, id, value(document(id, version=0), revision=cluster.revision - 1))

    @rule(seconds=st.sampled_from([60, LAG / 2, LAG]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(partition=st.integers(0, PARTITIONS - 1))
    @precondition(lambda self: not getattr(self, "gapless_zombies", False))
    def compact(self, partition):
        """As the broker does: of what is old enough, the last record of each key stays."""
        self.compacted = True
        if any(read[partition] < self.ends[partition] for read in self.read):
            self.gapless = False
        records = self.log[partition]
        oldest = (self.now - LAG) * 1000
        old = next((n for n, r in enumerate(records) if r.timestamp > oldest), len(records))
        last = {record.key: record.offset for record in records[:old]}
        self.log[partition] = [r for r in records[:old] if last[r.key] == r.offset] + records[old:]

    # --- processes

    def read_on(self, process: int, partition: int, most: int) -> None:
        position = self.read[process][partition]
        for record in [r for r in self.log[partition] if r.offset >= position][:most]:
            self.read[process][partition] = record.offset + 1
            try:
                self.feeds[process].apply(record)
            except Exception:  # as the tail does with what nobody can read
                assert record.value == b"{"

    @rule(
        process=st.integers(0, PROCESSES - 1), partition=st.integers(0, PARTITIONS - 1), n=st.integers(1, 9)
    )
    def follow(self, process, partition, n):
        self.read_on(process, partition, n)

    @rule(
        process=st.integers(0, PROCESSES - 1),
        order=st.permutations(range(PARTITIONS)),
        ring=st.sampled_from([2, 5, 1000]),
    )
    def restart(self, process, order, ring):
        self.ring = ring
        self.feeds[process], self.read[process] = self.new_feed(), [0] * PARTITIONS
        for reader in self.readers:
            if reader.process == process:
                reader.watcher = None
        for partition in order:
            self.read_on(process, partition, 10**9)

    # --- readers

    @rule(number=st.integers(0, READERS - 1), process=st.integers(0, PROCESSES - 1))
    def connect(self, number, process):
        reader, feed = self.readers[number], self.feeds[process]
        reader.process = process
        if reader.token is None:
            reader.forget()
        since = None if reader.token is None else feed.position_of(reader.token)
        try:
            reader.watcher = feed.watch(Watched(reader.wanted), since)
        except Rejected as refusal:
            assert refusal.code == "WATCH_EXPIRED"
            reader.forget()
            reader.watcher = feed.watch(Watched(reader.wanted))

    @rule(number=st.integers(0, READERS - 1), about=st.sampled_from([1, 400, 10**9]), cut=st.integers(0, 9))
    def take(self, number, about, cut):
        """Take some; from 5 on the connection breaks in between, and what was under way is lost."""
        reader = self.readers[number]
        if reader.watcher is None:
            return
        try:
            events = reader.watcher.take(about)
        except FellBehind:
            reader.forget()
            return
        arrived = events if cut < 5 else events[: cut - 5]
        for event in arrived:
            reader.see(event, gapless=self.gapless)
        if cut >= 5:
            reader.watcher = None

    @rule(number=st.integers(0, READERS - 1))
    def bookmark(self, number):
        reader = self.readers[number]
        if reader.watcher is not None and (event := reader.watcher.bookmark()) is not None:
            reader.see(event, gapless=self.gapless)

    def teardown(self) -> None:
        for process in range(PROCESSES):
            for partition in range(PARTITIONS):
                self.read_on(process, partition, 10**9)
        for number, reader in enumerate(self.readers):
            if reader.watcher is None:
                self.connect(number, reader.process)
            self.take(number, 10**9, 0)
            if reader.watcher is None:  # it fell behind
                self.connect(number, reader.process)
            while reader.watcher.number < self.feeds[reader.process].end or not reader.token:
                self.take(number, 10**9, 0)
            visible = {
                id: cluster.shown
                for id, cluster in self.clusters.items()
                if cluster.shown is not None
                and reader.wanted.owner in (None, "a" if int(id[1]) % 2 else "b")
                and reader.wanted.platform in (None, cluster.filters[0])
                and reader.wanted.phase in (None, cluster.filters[1])
            }
            assert visible == reader.held


TestWorlds = Worlds.TestCase
TestWorlds.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
