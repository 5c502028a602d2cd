"""The change feed under random histories: whatever processes and readers do, nobody misses a change."""

import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from domain.errors import Rejected
from streams.claims import CLAIM_HEADER, CLAIM_KEY
from streams.topic import STATE_HISTORY
from tables.cluster import ClusterView, Filter
from tables.feed import Feed, FellBehind, Watched
from tables.positions import FeedPosition
from tests.tables.given import NOW, Record, document, value

PARTITIONS, READERS, PROCESSES = 3, 3, 2
LAG = STATE_HISTORY.total_seconds()


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
        self.claims: list[list[int]] = [[] for _ in range(PARTITIONS)]
        for partition in range(PARTITIONS):
            self.take_over(partition)
        self.clusters = {f"c{n}": Cluster(partition=n % PARTITIONS) for n in range(5)}
        self.gapless = True
        self.compacted = False
        self.zombies = False
        self.ring = 1000
        self.feeds: list[Feed] = []
        self.read: list[list[int]] = []
        for _ in range(PROCESSES):
            self.feeds.append(self.new_feed())
            self.read.append([0] * PARTITIONS)
        kinds = (Filter(), Filter(owner="a"), Filter(platform="aws", phase="ready"))
        self.readers = [Reader(kind) for kind in kinds]

    def new_feed(self) -> Feed:
        return Feed(ClusterView(), topic="cluster-state", max_changes=self.ring, clock=lambda: self.now)

    def append(self, partition: int, key: bytes, data: bytes | None, *, owner: int = -1) -> None:
        """Write as the owner of the partition, or as a former one."""
        offset = self.ends[partition]
        self.ends[partition] += 1
        headers = () if key == CLAIM_KEY else ((CLAIM_HEADER, b"%d" % self.claims[partition][owner]),)
        self.log[partition].append(Record(key, data, partition, offset, self.now * 1000, headers))

    @rule(partition=st.integers(0, PARTITIONS - 1))
    def take_over(self, partition):
        """Another worker becomes the owner."""
        self.claims[partition].append(self.ends[partition])
        self.append(partition, CLAIM_KEY, b"{}")

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
        self.append(cluster.partition, id.encode(), value(cluster.shown, revision=cluster.revision))

    @rule(id=st.sampled_from([f"c{n}" for n in range(5)]))
    def move_a_schedule(self, id):
        cluster = self.clusters[id]
        if cluster.shown is not None:
            cluster.revision += 1
            self.append(cluster.partition, id.encode(), value(cluster.shown, revision=cluster.revision))

    @rule(id=st.sampled_from([f"c{n}" for n in range(5)]), purged=st.booleans())
    def delete(self, id, purged):
        cluster = self.clusters[id]
        if cluster.shown is not None:
            cluster.revision += 1
            self.append(
                cluster.partition, id.encode(), value(cluster.shown, revision=cluster.revision, deleted=True)
            )
            cluster.shown = None
        if purged:
            self.append(cluster.partition, id.encode(), None)
            cluster.revision = 0

    @rule(id=st.sampled_from([f"c{n}" for n in range(5)]), partition=st.integers(0, PARTITIONS - 1))
    def garbage(self, id, partition):
        self.append(partition, b"x", b"{")

    @rule(id=st.sampled_from([f"c{n}" for n in range(5)]))
    @precondition(lambda self: not self.compacted)
    def a_zombie_writes(self, id):
        cluster = self.clusters[id]
        if len(self.claims[cluster.partition]) > 1:
            self.zombies = True
            late = value(document(id, version=0), revision=cluster.revision + 9)
            self.append(cluster.partition, id.encode(), late, owner=-2)

    @rule(seconds=st.sampled_from([60, LAG / 2, LAG]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(partition=st.integers(0, PARTITIONS - 1))
    @precondition(lambda self: not self.zombies)
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

    def read_up_to(self, process: int, position: FeedPosition) -> None:
        """The web edge waits for it before it lets a reader go on from there."""
        for partition, offset in enumerate(position):
            while self.read[process][partition] < offset:
                self.read_on(process, partition, 1)
        assert self.feeds[process].has_read(position)

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
        self.read_up_to(process, since or ())
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
TestWorlds.settings = settings(max_examples=300, stateful_step_count=60)
