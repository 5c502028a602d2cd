"""The clock of clusters: what a tick does for the clusters of its partition.

A regular tick announces the reconciles that are due, updates statuses that time alone changes, announces
changes that have waited for their debounce time, and purges clusters whose retention is over.

Indexes. Four indexes (`tables/due.py`) hold, per partition, the moment from which a tick has something to do
for a cluster, so a tick costs what is due and not what exists. They follow every state that a turn stores.
After a recovery they are filled from the table, one slice at a time (`agents/wakes.py`). A tick that finds
its partition unfinished completes it first, because a redelivered tick must find what its first delivery
found.

Slices. A tick changes a bounded number of clusters per turn, so that commands are decided in between. If
work is left, the clock sets `more`, and the ticker publishes another tick with the rest of the cap
(`between`). Such a tick, or one for waiting announcements, may come at any time between two regular ones.

Wrong clocks. A broker's clock may have been ahead for a while (`domain.cluster.believed`). Clusters that were
written then are indexed at moments in the future. The clock therefore keeps, per partition, the latest broker
time of all that was decided or recovered. If a regular tick finds that time too far ahead, the whole
partition is indexed once more in slices, and clusters whose moments are not believed are woken so that the
next tick corrects them.
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
from agents.wakes import PUT_OFF, Indexing
from domain.cluster.believed import Now, ahead, furthest
from domain.cluster.decide import evolve, moved_on
from domain.cluster.reactive import announce_waiting, announces_at
from domain.cluster.schedule import due, moves_at, needs_attention, reconciles_at
from domain.cluster.state import TOLERANCE, ClusterState
from domain.errors import MalformedRecord, Rejected
from domain.policy import Policy
from streams.cluster.messages import TickMessage
from streams.json import from_millis, utc
from streams.turns.turn import Here
from tables.due import DueIndex
from tables.typed import TypedTable

log = logging.getLogger("clusterflow.reconciliation_scheduler")

SECONDS = Histogram("clusterflow_reconciliation_duration_seconds", "Time of one tick of one partition")
DUE = Gauge("clusterflow_reconcile_due", "Clusters due at the last ticks", ["state"])

TICK_SLICE: Final = 100
"""How many clusters all ticks of one turn may change: each takes 0.2 ms, and commands wait meanwhile."""

MIN_PER_TICK: Final = 5
"""The minimum per tick even in a turn full of commands, so that commands cannot starve reconciliation."""

SPARE_CANDIDATES: Final = 16
"""How many clusters more than needed are looked up, because some may turn out to be unreadable."""

_tick_decoder = msgspec.json.Decoder(TickMessage)


class Between(NamedTuple):
    """The reasons for which a partition needs a tick before its next regular one.

    Attributes:
        announce_at: The moment from which a change may be announced; None while no change waits.
        tick_id, reconcile: The tick that has left work, and how many reconciles; empty and 0 without one.
    """

    announce_at: datetime | None
    tick_id: str
    reconcile: int


class _Due(NamedTuple):
    """A cluster to reconcile. Sorting puts clusters that need attention first, then the longest wait."""

    stable: bool
    since: datetime
    key: bytes


class Clock:
    """Handles the ticks of the cluster agent.

    Attributes:
        more: Set when a tick has left work that another tick has to continue.
    """

    def __init__(self, clusters: TypedTable[ClusterState], announcer: Announcer, policy: Policy) -> None:
        self.more = asyncio.Event()
        self._announcer = announcer
        self._policy = policy
        self._moving = DueIndex()  # what time alone changes
        self._attention = DueIndex()  # reconciles of clusters that need attention, as of their last write
        self._stable = DueIndex()  # reconciles of the others
        self._waiting = DueIndex()  # changes to be announced
        self._counts: dict[int, tuple[int, int]] = {}  # by partition, due after a tick: attention, stable
        self._left: dict[int, tuple[str, int]] = {}  # by partition, what its last tick has left
        # By partition, the furthest moment of what was indexed, and the tick that did not believe it.
        self._furthest: dict[int, datetime] = {}
        self._doubted: dict[int, Now] = {}
        self._indexing = Indexing(clusters, note=self._index_again, forget=self._forget)

    def tick(self, here: Here[ClusterState]) -> None:
        """Handle one tick. Raises: MalformedRecord: `invalid_schema`.

        A redelivered tick must find what its first delivery found, so the indexes are completed first.
        """
        try:
            tick = _tick_decoder.decode(here.record.value)
            now = Now(here.at, utc(tick.at, field="at"))
        except (msgspec.MsgspecError, UnicodeDecodeError, Rejected) as error:
            raise MalformedRecord("invalid_schema", str(error)) from None
        self._indexing.complete(here.partition)
        with SECONDS.time():
            all_announced = not tick.announce or self._announce_waiting(here, tick.tick_id, now.at)
            if tick.reconcile > 0:
                self._go_on(here, tick, now, left=tick.reconcile)
            elif not tick.announce:
                self._doubt(here.partition, now)
                self._count(here.partition, now.at)
                self._go_on(here, tick, now, left=self._policy.reconcile_cap)
            if not all_announced:
                self._left.setdefault(here.partition, (tick.tick_id, 0))
                self.more.set()

    # --- ticks ------------------------------------------------------------------------------------

    def _go_on(self, here: Here[ClusterState], tick: TickMessage, now: Now, *, left: int) -> None:
        """Do a slice of what is due: changes by time, then reconciles up to the rest of the cap.

        If work remains, another tick is requested to continue. While changes by time fill the slice,
        reconciles proceed at the minimum per tick, and one of the cap is kept back, because the tick that
        continues is recognised by a cap above zero.
        """
        room = self._room(here)
        moved, all_moved = self._move_on(here, tick, now, most=room)
        most = min(left, room) if all_moved else min(left - 1, MIN_PER_TICK)
        announced = self._reconcile(here, tick.tick_id, now.at, most=most, moved=moved)
        for key, after in moved.items():
            self._put(here, key, after, now.at)
        self._count_announced(here.partition, announced)
        if not all_moved or announced == most < left:
            self._left[here.partition] = (tick.tick_id, left - announced)
            self.more.set()
        else:
            self._left.pop(here.partition, None)

    def _move_on(
        self, here: Here[ClusterState], tick: TickMessage, now: Now, *, most: int
    ) -> tuple[dict[bytes, ClusterState], bool]:
        """Purge expired clusters; return states that time has changed, unstored, and whether that is all."""
        moved: dict[bytes, ClusterState] = {}
        # Workers request announcements by their own clocks, which may be behind; so regular ticks make them.
        indexes = (self._moving,) if tick.announce else (self._moving, self._waiting)
        awake: list[bytes] = []
        for index in indexes:
            awake += [key for _, key in index.due(here.partition, now.at, most - len(awake))]
        for key in here.touched().keys() | set(awake):
            with self._alone(here.partition, key):
                if (before := self._unticked(here, key)) is None:
                    continue
                after, announced = moved_on(before, now, self._policy)
                if after is None:
                    self._purge(here, key, before, now)
                    continue
                for output in self._announcer.changes(
                    here.partition, announced, after=after, cause=tick.tick_id
                ):
                    here.publish(output)
                if after is not before:
                    moved[key] = after
                elif after.deleted_at is not None:
                    self._put_off(here.partition, key, after, now)
        return moved, len(awake) < most

    def _purge(self, here: Here[ClusterState], key: bytes, deleted: ClusterState, now: Now) -> None:
        """Remove a deleted cluster, unless a record that it reflects may be delivered again.

        Without its state, a command that was refused because its id is taken would be accepted on redelivery.
        """
        if here.committed(deleted.offsets):
            here.put(None, key)
        else:
            self._moving.set(here.partition, key, now.at + PUT_OFF)

    def _put_off(self, partition: int, key: bytes, deleted: ClusterState, now: Now) -> None:
        """Postpone a purge that the ticker's clock does not confirm until that clock has caught up."""
        moment = moves_at(deleted, self._policy)
        if moment is not None and moment <= now.at:
            self._moving.set(partition, key, moment + (now.at - now.earliest))
            self._note_furthest(partition, now.at)

    def _reconcile(
        self,
        here: Here[ClusterState],
        tick_id: str,
        at: datetime,
        *,
        most: int,
        moved: dict[bytes, ClusterState],
    ) -> int:
        """Announce at most `most` due clusters, take them out of `moved`, and return how many there were."""
        announced = 0
        for _, _, key in self._candidates(here, at, moved, limit=most):
            if announced == most:
                break
            with self._alone(here.partition, key):
                before = moved[key] if key in moved else self._unticked(here, key)
                event = None if before is None else due(before, at, self._policy)
                if before is None or event is None:
                    continue
                after = evolve(before, event, self._policy)
                here.publish(
                    self._announcer.event(here.partition, event, before=before, after=after, cause=tick_id)
                )
                self._put(here, key, after, at)
                moved.pop(key, None)
                announced += 1
        return announced

    def _candidates(
        self,
        here: Here[ClusterState],
        at: datetime,
        moved: Mapping[bytes, ClusterState],
        *,
        limit: int,
    ) -> Sequence[_Due]:
        """Clusters that may be due, in their order: from the index, or from the states of this turn."""
        touched = {key: cluster for key, cluster in here.touched().items() if cluster is not None}
        current = {**touched, **moved}
        limit += len(current) + SPARE_CANDIDATES
        found = [
            _Due(stable, since, key)
            for stable, index in ((False, self._attention), (True, self._stable))
            for since, key in index.due(here.partition, at, limit)
            if key not in current
        ]
        for key, cluster in current.items():
            moment = reconciles_at(cluster, self._policy)
            if moment is not None and moment <= at:
                stable = not needs_attention(cluster.cluster, at, self._policy)
                found.append(_Due(stable, cluster.schedule.next_reconcile_at, key))
        return sorted(found)

    @contextmanager
    def _alone(self, partition: int, key: bytes) -> Iterator[None]:
        """Skip a cluster that cannot be handled, so that no tick stops; its next write indexes it again."""
        try:
            yield
        except Exception as error:
            log.error(
                "cluster passed over by the clock",
                extra={"cluster_id": key.decode(errors="replace"), "error": type(error).__name__},
            )
            RECONCILES.labels("unknown", "failed").inc()
            self.index(partition, key, None)

    def _announce_waiting(self, here: Here[ClusterState], tick_id: str, at: datetime) -> bool:
        """Announce a slice of the changes whose waiting time is over; return whether that is all of them."""
        most = self._room(here)
        awake = [key for _, key in self._waiting.due(here.partition, at, most)]
        for key in here.touched().keys() | set(awake):
            with self._alone(here.partition, key):
                if (before := self._unticked(here, key)) is None:
                    continue
                after, announced = announce_waiting(before, at=at, policy=self._policy)
                for output in self._announcer.changes(here.partition, announced, after=after, cause=tick_id):
                    here.publish(output)
                if announced:
                    self._put(here, key, after, at)
        return len(awake) < most

    @staticmethod
    def _room(here: Here[ClusterState]) -> int:
        """How many clusters a tick may still change in this turn, for each kind of change."""
        return max(MIN_PER_TICK, TICK_SLICE - here.turn_size())

    @staticmethod
    def _unticked(here: Here[ClusterState], key: bytes) -> ClusterState | None:
        """The cluster, unless it is gone or reflects this tick already."""
        before = here.get(key)
        return None if before is None or before.reflects(here.log, here.record.offset) else before

    @staticmethod
    def _put(here: Here[ClusterState], key: bytes, after: ClusterState, at: datetime) -> None:
        here.put(after.sealed(seen=here.seen, at=at), key)

    def _count(self, partition: int, at: datetime) -> None:
        attention, stable = (index.count_due(partition, at) for index in (self._attention, self._stable))
        self._counts[partition] = (attention, stable)

    def _count_announced(self, partition: int, announced: int) -> None:
        """Subtract announced clusters from the counts: those that need attention were announced first."""
        attention, stable = self._counts.get(partition, (0, 0))
        self._counts[partition] = (
            max(0, attention - announced),
            max(0, stable - max(0, announced - attention)),
        )
        self._show_counts()

    def _show_counts(self) -> None:
        DUE.labels("attention").set(sum(attention for attention, _ in self._counts.values()))
        DUE.labels("stable").set(sum(stable for _, stable in self._counts.values()))

    # --- the index --------------------------------------------------------------------------------

    def index(self, partition: int, key: bytes, cluster: ClusterState | None) -> None:
        """Note the moments from which a tick has something to do for a cluster; None removes it."""
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
        """Note the broker times of decided records: no moment that they added to a state is later."""
        millis = max([record.timestamp for record in records], default=0)
        if millis > 0:
            self._note_furthest(partition, from_millis(millis))

    def _note_furthest(self, partition: int, moment: datetime) -> None:
        self._furthest[partition] = max(moment, self._furthest.get(partition, moment))

    def _doubt(self, partition: int, now: Now) -> None:
        """Index a partition again if a moment in it may lie further ahead than is believed."""
        moment = self._furthest.get(partition)
        if moment is None or moment <= now.latest + TOLERANCE:
            return
        log.warning(
            "a stored moment lies further ahead than any interval explains; such clusters are corrected",
            extra={"partition": partition, "seconds_ahead": (moment - now.latest).total_seconds()},
        )
        del self._furthest[partition]
        self._doubted[partition] = now
        self._indexing.again(partition)

    def between(self, partition: int) -> Between:
        """Why a partition needs a tick before its next regular one; work that was left is reported once."""
        tick_id, left = self._left.pop(partition, ("", 0))
        return Between(self._waiting.earliest(partition), tick_id, left)

    @property
    def indexed(self) -> bool:
        """Whether every recovered cluster is indexed; before that, a tick would miss some."""
        return self._indexing.done

    def index_recovered(self) -> None:
        """Index a slice of the clusters that were recovered or are doubted."""
        if (completed := self._indexing.go_on()) is not None:
            self._doubted.pop(completed, None)

    def _index_again(self, partition: int, key: bytes, cluster: ClusterState) -> None:
        """Index a cluster, and wake it for the next tick if the doubting tick does not believe it."""
        now = self._doubted.get(partition)
        self.index(partition, key, cluster)
        if now is not None and ahead(cluster, now, self._policy):
            self._moving.set(partition, key, now.at)
        # A cluster that is ahead counts too: a command before that tick would index it in the future again.
        self._note_furthest(partition, furthest(cluster, self._policy))

    def _forget(self, partition: int) -> None:
        """Forget a partition; its recovered clusters are indexed afterwards."""
        self._counts.pop(partition, None)
        self._left.pop(partition, None)
        self._furthest.pop(partition, None)
        self._doubted.pop(partition, None)
        for index in (self._moving, self._attention, self._stable, self._waiting):
            index.clear(partition)
        self._show_counts()
