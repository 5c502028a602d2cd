"""What a tick means for the clusters of its partition: reconciles, statuses that time moves on, purges.

A tick costs what is due, not what exists: an index says from which moment on it has something to do for a
cluster. Between two regular ticks others come that only announce changes which have waited their time.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

import msgspec
from aiokafka import ConsumerRecord
from prometheus_client import Gauge, Histogram

from agents.announcer import RECONCILES, Announcer
from domain.cluster import ClusterRecord
from domain.decide import decide_tick, evolve, reflects, sealed
from domain.errors import MalformedRecord
from domain.events import Event, Purged, Reconciled
from domain.policy import Policy
from domain.reactive import announce, announce_waiting, announces_at
from domain.schedule import needs_attention, wake_at
from streams.codec import from_millis
from streams.messages import TickMessage
from streams.turn import Turn
from tables.due import DueIndex
from tables.typed import TypedTable

log = logging.getLogger("clusterflow.reconciliation_scheduler")

SECONDS = Histogram("clusterflow_reconciliation_duration_seconds", "Time of one tick of one partition")
DUE = Gauge("clusterflow_reconcile_due", "Clusters due at the last ticks", ["state"])

_tick_decoder = msgspec.json.Decoder(TickMessage)


class _Due(NamedTuple):
    """A cluster to reconcile; these sort as the cap takes them: attention first, then who waited longest."""

    stable: bool
    since: datetime
    key: bytes
    before: ClusterRecord
    after: ClusterRecord
    event: Reconciled


class Clock:
    """Handles the ticks of the cluster agent."""

    def __init__(self, clusters: TypedTable[ClusterRecord], announcer: Announcer, policy: Policy) -> None:
        self._clusters = clusters
        self._announcer = announcer
        self._policy = policy
        self._due = DueIndex()
        self._waiting = DueIndex()  # of changes to be announced
        self._counts: dict[int, tuple[int, int]] = {}  # by partition, due at its last tick: attention, stable
        clusters.on_recovered(self._index_recovered)

    def tick(self, turn: Turn[ClusterRecord], record: ConsumerRecord) -> None:
        """Do what time asks for. Raises: MalformedRecord: `invalid_schema`."""
        try:
            tick = _tick_decoder.decode(record.value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise MalformedRecord("invalid_schema", str(error)) from None
        at = from_millis(record.timestamp)
        if tick.announce:
            self._announce_waiting(turn, record, tick.tick_id, at)
        else:
            with SECONDS.time():
                self._regular(turn, record, tick.tick_id, at)

    # --- ticks ------------------------------------------------------------------------------------

    def _regular(self, turn: Turn[ClusterRecord], record: ConsumerRecord, tick_id: str, at: datetime) -> None:
        due: list[_Due] = []
        for key in self._awake(turn, record.partition, self._due, at):
            with self._alone(record.partition, key):
                before = self._unticked(turn, record, key)
                moment = None if before is None else wake_at(before, self._policy)
                if before is None or moment is None or moment > at:
                    continue
                events = decide_tick(before, at=at, policy=self._policy)
                if any(isinstance(event, Purged) for event in events):
                    turn.put(record.partition, key, None)
                    continue
                after = self._moved_on(turn, record, before, events, tick_id, at)
                reconcile = next((event for event in events if isinstance(event, Reconciled)), None)
                if reconcile is not None:
                    stable = not needs_attention(after.cluster, at, self._policy)
                    due.append(_Due(stable, before.schedule.next_reconcile_at, key, before, after, reconcile))
                elif after is not before:
                    self._put(turn, record, key, after, at)
        self._count(record.partition, due)
        self._reconcile(turn, record, sorted(due, key=lambda entry: entry[:3]), tick_id, at)

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
            self._due.set(partition, key, None)
            self._waiting.set(partition, key, None)

    def _moved_on(
        self,
        turn: Turn[ClusterRecord],
        record: ConsumerRecord,
        before: ClusterRecord,
        events: Iterable[Event],
        tick_id: str,
        at: datetime,
    ) -> ClusterRecord:
        """The record after all but its reconcile; what that changes is announced."""
        after = before
        for event in events:
            if not isinstance(event, Reconciled):
                changed = evolve(after, event, self._policy)
                after, announced = announce(after, changed, event, at=at, policy=self._policy)
                self._announcer.changes(turn, record, announced, after=after, cause=tick_id)
        after, announced = announce_waiting(after, at=at, policy=self._policy)
        self._announcer.changes(turn, record, announced, after=after, cause=tick_id)
        return after

    def _reconcile(
        self,
        turn: Turn[ClusterRecord],
        record: ConsumerRecord,
        due: Sequence[_Due],
        tick_id: str,
        at: datetime,
    ) -> None:
        """Announce up to the cap; the rest stay due."""
        left = self._policy.reconcile_cap
        for entry in due:
            with self._alone(record.partition, entry.key):
                after = entry.after
                if left > 0:
                    after = evolve(after, entry.event, self._policy)
                    self._announcer.tell(
                        turn, record, entry.event, before=entry.before, after=after, cause=tick_id
                    )
                    left -= 1
                else:
                    RECONCILES.labels(entry.event.reason, "deferred").inc()
                if after is not entry.before:
                    self._put(turn, record, entry.key, after, at)

    def _announce_waiting(
        self, turn: Turn[ClusterRecord], record: ConsumerRecord, tick_id: str, at: datetime
    ) -> None:
        for key in self._awake(turn, record.partition, self._waiting, at):
            with self._alone(record.partition, key):
                if (before := self._unticked(turn, record, key)) is None:
                    continue
                after, announced = announce_waiting(before, at=at, policy=self._policy)
                self._announcer.changes(turn, record, announced, after=after, cause=tick_id)
                if announced:
                    self._put(turn, record, key, after, at)

    @staticmethod
    def _awake(turn: Turn[ClusterRecord], partition: int, index: DueIndex, at: datetime) -> set[bytes]:
        """The clusters whose moment has come, or that this turn has changed, which the index can't know."""
        return {*index.due(partition, at), *(key for place, key, _ in turn.touched() if place == partition)}

    @staticmethod
    def _unticked(turn: Turn[ClusterRecord], record: ConsumerRecord, key: bytes) -> ClusterRecord | None:
        """The cluster, unless it is gone or reflects this tick already."""
        before = turn.get(record.partition, key)
        return None if reflects(before, record.topic, record.offset) else before

    @staticmethod
    def _put(
        turn: Turn[ClusterRecord], record: ConsumerRecord, key: bytes, after: ClusterRecord, at: datetime
    ) -> None:
        turn.put(record.partition, key, sealed(after, topic=record.topic, offset=record.offset, at=at))

    def _count(self, partition: int, due: Sequence[_Due]) -> None:
        stable = sum(entry.stable for entry in due)
        self._counts[partition] = (len(due) - stable, stable)
        self._show_counts()

    def _show_counts(self) -> None:
        DUE.labels("attention").set(sum(attention for attention, _ in self._counts.values()))
        DUE.labels("stable").set(sum(stable for _, stable in self._counts.values()))

    # --- the index --------------------------------------------------------------------------------

    def index(self, partition: int, key: bytes, cluster: ClusterRecord | None) -> None:
        """Note from when on a cluster has to be looked at."""
        policy = self._policy
        self._due.set(partition, key, None if cluster is None else wake_at(cluster, policy))
        self._waiting.set(partition, key, None if cluster is None else announces_at(cluster, policy))

    def announces_at(self, partition: int) -> datetime | None:
        """When the first change of a partition that waits may be announced; None while none waits."""
        return self._waiting.earliest(partition)

    def _index_recovered(self) -> None:
        for partition in self._clusters.take_recovered():
            self._counts.pop(partition, None)
            self._due.clear(partition)
            self._waiting.clear(partition)
            for key, data in self._clusters.rows(partition).items():
                try:
                    self.index(partition, key, self._clusters.decode(data))
                except msgspec.MsgspecError as error:
                    log.error("state cannot be read, its clock stands still", extra={"error": str(error)})
        self._show_counts()
