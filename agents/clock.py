"""What a tick means for the clusters of its partition: reconciles, statuses that time moves on, purges.

A tick costs what is due, not what exists: an index says from which moment on it has something to do for a
cluster. Between two regular ticks others come, that announce changes which have waited their time or go on
with what the last one has left: all of it goes a slice a turn, so that commands come between.

A broker's clock may have been ahead for a while (`domain.cluster.believed`). Clusters that were written then
are in the indexes at moments that have yet to come. So the clock keeps, of each partition, how far the
broker's clock had come in all that was decided or recovered. A regular tick that finds it ahead has the whole
partition indexed once more, a slice at a time like what was recovered, and clusters whose moments are not
believed wake for the next tick to correct.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final, NamedTuple

import msgspec
from aiokafka import ConsumerRecord
from prometheus_client import Gauge, Histogram

from agents.announcer import RECONCILES, Announcer
from domain.cluster.believed import Now, ahead, furthest
from domain.cluster.decide import evolve, moved_on
from domain.cluster.reactive import announce_waiting, announces_at
from domain.cluster.schedule import due, moves_at, needs_attention, reconciles_at
from domain.cluster.state import TOLERANCE, ClusterState
from domain.errors import MalformedRecord, Rejected
from domain.offsets import Seen
from domain.policy import Policy
from streams.cluster.messages import TickMessage
from streams.json import from_millis, utc
from streams.turns.turn import Turn
from tables.due import DueIndex
from tables.typed import TypedTable

log = logging.getLogger("clusterflow.reconciliation_scheduler")

SECONDS = Histogram("clusterflow_reconciliation_duration_seconds", "Time of one tick of one partition")
DUE = Gauge("clusterflow_reconcile_due", "Clusters due at the last ticks", ["state"])

SLICE: Final = 100
"""Clusters in one turn, over all its ticks; one takes 0.2 ms, and a command waits for a turn or two."""

LEAST: Final = 5
"""Of each kind for one tick in a turn that has its hands full: no flood of commands keeps them away."""

SPARE: Final = 16
"""Clusters looked up beyond those that are wanted, because some may turn out to be unreadable."""

INDEXED: Final = 250
"""Recovered clusters indexed before commands get their turn: 4 ms."""

_tick_decoder = msgspec.json.Decoder(TickMessage)


class Between(NamedTuple):
    """What a partition wants a tick for before its next regular one.

    Attributes:
        announce_at: From when on a change may be announced; None while none waits.
        tick_id, reconcile: Which tick has left something, and how many reconciles; empty if none has.
    """

    announce_at: datetime | None
    tick_id: str
    reconcile: int


class _Due(NamedTuple):
    """A cluster to reconcile; these sort as the cap takes them: attention first, then who waited longest."""

    stable: bool
    since: datetime
    key: bytes


class Clock:
    """Handles the ticks of the cluster agent.

    Attributes:
        more: Set when a tick has left something that another is to go on with.
    """

    def __init__(self, clusters: TypedTable[ClusterState], announcer: Announcer, policy: Policy) -> None:
        self.more = asyncio.Event()
        self._clusters = clusters
        self._announcer = announcer
        self._policy = policy
        self._moving = DueIndex()  # what time alone changes
        self._attention = DueIndex()  # reconciles of clusters that need attention, as of their last write
        self._stable = DueIndex()  # reconciles of the others
        self._waiting = DueIndex()  # changes to be announced
        self._counts: dict[int, tuple[int, int]] = {}  # by partition, due after a tick: attention, stable
        self._left: dict[int, tuple[str, int]] = {}  # by partition, what its last tick has left
        self._unindexed: dict[int, list[bytes]] = {}  # by partition, what was recovered
        # By partition, the furthest moment of what was indexed, and the tick that did not believe it.
        self._furthest: dict[int, datetime] = {}
        self._doubted: dict[int, Now] = {}
        clusters.on_recovered(self._recovered)

    def tick(self, turn: Turn[ClusterState], record: ConsumerRecord) -> None:
        """Do what time asks for. Raises: MalformedRecord: `invalid_schema`."""
        try:
            tick = _tick_decoder.decode(record.value)
            now = Now(from_millis(record.timestamp), utc(tick.at, field="at"))
        except (msgspec.MsgspecError, UnicodeDecodeError, Rejected) as error:
            raise MalformedRecord("invalid_schema", str(error)) from None
        with SECONDS.time():
            all_announced = not tick.announce or self._announce_waiting(turn, record, tick.tick_id, now.at)
            if tick.reconcile > 0:
                self._go_on(turn, record, tick, now, left=tick.reconcile)
            elif not tick.announce:
                self._doubt(record.partition, now)
                self._count(record.partition, now.at)
                self._go_on(turn, record, tick, now, left=self._policy.reconcile_cap)
            if not all_announced:
                self._left.setdefault(record.partition, (tick.tick_id, 0))
                self.more.set()

    # --- ticks ------------------------------------------------------------------------------------

    def _go_on(
        self, turn: Turn[ClusterState], record: ConsumerRecord, tick: TickMessage, now: Now, *, left: int
    ) -> None:
        """Do a slice of what is due: what time changes, and reconciles, up to what is left of the cap.

        Where that is not all, another tick is asked for to go on with. While time has changed more than a
        slice, reconciles go on at the least pace, and one of the cap is left for that tick to be known by.
        """
        room = self._room(turn)
        moved, all_moved = self._move_on(turn, record, tick, now, most=room)
        most = min(left, room) if all_moved else min(left - 1, LEAST)
        told = self._reconcile(turn, record, tick.tick_id, now.at, most=most, moved=moved)
        for key, after in moved.items():
            self._put(turn, record, key, after, now.at)
        self._count_told(record.partition, told)
        if not all_moved or told == most < left:
            self._left[record.partition] = (tick.tick_id, left - told)
            self.more.set()
        else:
            self._left.pop(record.partition, None)

    def _move_on(
        self, turn: Turn[ClusterState], record: ConsumerRecord, tick: TickMessage, now: Now, *, most: int
    ) -> tuple[dict[bytes, ClusterState], bool]:
        """Purge what is over; returns what time has changed, not put yet, and whether that is all."""
        moved: dict[bytes, ClusterState] = {}
        # Workers ask for announcements by clocks that may be behind, so a regular tick makes them as well.
        indexes = (self._moving,) if tick.announce else (self._moving, self._waiting)
        awake: list[bytes] = []
        for index in indexes:
            awake += [key for _, key in index.due(record.partition, now.at, most - len(awake))]
        for key in self._touched(turn, record.partition).union(awake):
            with self._alone(record.partition, key):
                if (before := self._unticked(turn, record, key)) is None:
                    continue
                after, announced = moved_on(before, now, self._policy)
                if after is None:
                    turn.put(record.partition, key, None)
                    continue
                self._announcer.changes(turn, record, announced, after=after, cause=tick.tick_id)
                if after is not before:
                    moved[key] = after
                elif after.deleted_at is not None:
                    self._put_off(record.partition, key, after, now)
        return moved, len(awake) < most

    def _put_off(self, partition: int, key: bytes, deleted: ClusterState, now: Now) -> None:
        """Look at a cluster whose purge the ticker's clock does not agree to when that has caught up."""
        moment = moves_at(deleted, self._policy)
        if moment is not None and moment <= now.at:
            self._moving.set(partition, key, moment + (now.at - now.earliest))
            self._note_furthest(partition, now.at)

    def _reconcile(
        self,
        turn: Turn[ClusterState],
        record: ConsumerRecord,
        tick_id: str,
        at: datetime,
        *,
        most: int,
        moved: dict[bytes, ClusterState],
    ) -> int:
        """Announce those who are due, so many at most; returns how many. They leave those that have moved."""
        told = 0
        for _, _, key in self._candidates(turn, record, at, moved, limit=most):
            if told == most:
                break
            with self._alone(record.partition, key):
                before = moved[key] if key in moved else self._unticked(turn, record, key)
                event = None if before is None else due(before, at, self._policy)
                if before is None or event is None:
                    continue
                after = evolve(before, event, self._policy)
                self._announcer.tell(turn, record, event, before=before, after=after, cause=tick_id)
                self._put(turn, record, key, after, at)
                moved.pop(key, None)
                told += 1
        return told

    def _candidates(
        self,
        turn: Turn[ClusterState],
        record: ConsumerRecord,
        at: datetime,
        moved: Mapping[bytes, ClusterState],
        *,
        limit: int,
    ) -> Sequence[_Due]:
        """Clusters that may be due, in their order: by the index, or as they are if this turn has them."""
        partition = record.partition
        at_hand = dict(moved)
        for place, key, cluster in turn.touched():
            if place == partition and cluster is not None:
                at_hand.setdefault(key, cluster)
        limit += len(at_hand) + SPARE
        found = [
            _Due(stable, since, key)
            for stable, index in ((False, self._attention), (True, self._stable))
            for since, key in index.due(partition, at, limit)
            if key not in at_hand
        ]
        for key, cluster in at_hand.items():
            moment = reconciles_at(cluster, self._policy)
            if moment is not None and moment <= at:
                stable = not needs_attention(cluster.cluster, at, self._policy)
                found.append(_Due(stable, cluster.schedule.next_reconcile_at, key))
        return sorted(found)

    @contextmanager
    def _alone(self, partition: int, key: bytes) -> Iterator[None]:
        """One cluster that cannot be handled stops no tick; it is looked at again once it is written."""
        try:
            yield
        except Exception as error:
            log.error(
                "cluster passed over by the clock",
                extra={"cluster_id": key.decode(errors="replace"), "error": type(error).__name__},
            )
            RECONCILES.labels("unknown", "failed").inc()
            self.index(partition, key, None)

    def _announce_waiting(
        self, turn: Turn[ClusterState], record: ConsumerRecord, tick_id: str, at: datetime
    ) -> bool:
        """Announce a slice of the changes that have waited their time; whether that is all."""
        most = self._room(turn)
        awake = [key for _, key in self._waiting.due(record.partition, at, most)]
        for key in self._touched(turn, record.partition).union(awake):
            with self._alone(record.partition, key):
                if (before := self._unticked(turn, record, key)) is None:
                    continue
                after, announced = announce_waiting(before, at=at, policy=self._policy)
                self._announcer.changes(turn, record, announced, after=after, cause=tick_id)
                if announced:
                    self._put(turn, record, key, after, at)
        return len(awake) < most

    @staticmethod
    def _room(turn: Turn[ClusterState]) -> int:
        """How many clusters a tick may still take in this turn, of each kind."""
        return max(LEAST, SLICE - sum(1 for _ in turn.touched()))

    @staticmethod
    def _touched(turn: Turn[ClusterState], partition: int) -> set[bytes]:
        """The clusters that this turn has changed, of which the indexes can't know yet."""
        return {key for place, key, _ in turn.touched() if place == partition}

    @staticmethod
    def _unticked(turn: Turn[ClusterState], record: ConsumerRecord, key: bytes) -> ClusterState | None:
        """The cluster, unless it is gone or reflects this tick already."""
        before = turn.get(record.partition, key)
        return None if before is None or before.reflects(turn.log_of(record), record.offset) else before

    @staticmethod
    def _put(
        turn: Turn[ClusterState], record: ConsumerRecord, key: bytes, after: ClusterState, at: datetime
    ) -> None:
        turn.put(record.partition, key, after.sealed(seen=Seen(turn.log_of(record), record.offset), at=at))

    def _count(self, partition: int, at: datetime) -> None:
        attention, stable = (index.count_due(partition, at) for index in (self._attention, self._stable))
        self._counts[partition] = (attention, stable)

    def _count_told(self, partition: int, told: int) -> None:
        """So many are due no more: those that need attention come first."""
        attention, stable = self._counts.get(partition, (0, 0))
        self._counts[partition] = (max(0, attention - told), max(0, stable - max(0, told - attention)))
        self._show_counts()

    def _show_counts(self) -> None:
        DUE.labels("attention").set(sum(attention for attention, _ in self._counts.values()))
        DUE.labels("stable").set(sum(stable for _, stable in self._counts.values()))

    # --- the index --------------------------------------------------------------------------------

    def index(self, partition: int, key: bytes, cluster: ClusterState | None) -> None:
        """Note from when on a cluster has to be looked at; None: never."""
        moves = reconciles = announces = None
        attention = False
        if cluster is not None:
            policy = self._policy
            moves, announces = moves_at(cluster, policy), announces_at(cluster, policy)
            reconciles, attention = reconciles_at(cluster, policy), cluster.schedule.needs_attention
        self._moving.set(partition, key, moves)
        order = None if cluster is None else cluster.schedule.next_reconcile_at
        self._attention.set(partition, key, reconciles if attention else None, order)
        self._stable.set(partition, key, None if attention else reconciles, order)
        self._waiting.set(partition, key, announces)

    def note_times(self, partition: int, records: Iterable[ConsumerRecord]) -> None:
        """Note when what was decided on arrived: no moment that it has added to a state is later."""
        millis = max([record.timestamp for record in records], default=0)
        if millis > 0:
            self._note_furthest(partition, from_millis(millis))

    def _note_furthest(self, partition: int, moment: datetime) -> None:
        self._furthest[partition] = max(moment, self._furthest.get(partition, moment))

    def _doubt(self, partition: int, now: Now) -> None:
        """Have a partition indexed again if a moment in it may lie further ahead than is believed."""
        moment = self._furthest.get(partition)
        if moment is None or moment <= now.latest + TOLERANCE:
            return
        log.warning(
            "a stored moment lies further ahead than any interval explains; such clusters are corrected",
            extra={"partition": partition, "seconds_ahead": (moment - now.latest).total_seconds()},
        )
        del self._furthest[partition]
        self._doubted[partition] = now
        self._unindexed[partition] = [*self._clusters.rows(partition)]

    def between(self, partition: int) -> Between:
        """What a partition wants a tick for before its next regular one; what is left is told once."""
        tick_id, left = self._left.pop(partition, ("", 0))
        return Between(self._waiting.earliest(partition), tick_id, left)

    @property
    def indexed(self) -> bool:
        """Whether every cluster is in its place; until what was recovered is, a tick would miss some."""
        return not self._unindexed

    def index_recovered(self) -> None:
        """Put some of the clusters that were recovered, or are doubted, in their place."""
        partition, keys = next(iter(self._unindexed.items()))
        rows = self._clusters.rows(partition)
        for key in keys[-INDEXED:]:
            if (data := rows.get(key)) is None:
                continue
            try:
                self._index_again(partition, key, self._clusters.decode(data))
            except Exception as error:
                about = {"cluster_id": key.decode(errors="replace"), "error": type(error).__name__}
                log.error("state cannot be read, its clock stands still", extra=about)
        del keys[-INDEXED:]
        if not keys:
            del self._unindexed[partition]
            self._doubted.pop(partition, None)

    def _index_again(self, partition: int, key: bytes, cluster: ClusterState) -> None:
        """Index a cluster, and wake it for the next tick if the one that had doubts does not believe it."""
        now = self._doubted.get(partition)
        self.index(partition, key, cluster)
        if now is not None and ahead(cluster, now, self._policy):
            self._moving.set(partition, key, now.at)
        # One that is ahead counts, too: a command that comes before that tick would put it back in its place.
        self._note_furthest(partition, furthest(cluster, self._policy))

    def _recovered(self) -> None:
        for partition in self._clusters.take_recovered():
            self._counts.pop(partition, None)
            self._left.pop(partition, None)
            self._furthest.pop(partition, None)
            self._doubted.pop(partition, None)
            for index in (self._moving, self._attention, self._stable, self._waiting):
                index.clear(partition)
            self._unindexed[partition] = [*self._clusters.rows(partition)]
        self._show_counts()
