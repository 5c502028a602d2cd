"""`clusterflow verify`: does PostgreSQL hold what the topics say, row by row?

Nothing has to stand still. A look is one snapshot of the database and the topics up to the positions in it:
what the sink must have written by then is decided by these records alone, and what comes later is not
looked at.

1. Wait until the sink has stored what the topics hold now.
2. Read `cluster-state` up to the snapshot's positions, keeping per cluster where its last record is.
3. Read these last records again and compare their rows, a page at a time; then rows without a record, the
   rows of events, and names.

A repair writes what differs from the same records, and looks again: what the sink has overtaken meanwhile was
left alone, and is judged then.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Final

from aiokafka import ConsumerRecord

from database import Pool
from domain.errors import MalformedRecord
from recovery import names
from recovery.differences import (
    CLUSTERS,
    EVENTS,
    REPORTS,
    SCHEDULES,
    Difference,
    RefusedRows,
    Widths,
    too_long,
)
from recovery.errors import NotComparable
from recovery.progress import progress
from recovery.repair import Repair
from recovery.settings import RecoverySettings
from recovery.snapshot import SESSION, Snapshot, StoredPosition, snapshot
from sinks.cluster.rows import EventRow, State, StateRows, read_event, read_state, state_rows
from sinks.errors import RowsRefused, made_anew
from sinks.halves import or_by_halves
from streams.kafka.acls import VERIFY
from streams.kafka.admin import check_topics, kafka_cluster_id
from streams.kafka.rights import require_rights
from streams.kafka.topic_ids import topic_ids
from streams.reading.replay import Changelog, Offsets, Reader
from streams.writing.outputs import RecordPosition

log = logging.getLogger("clusterflow.recovery")

# Differences that are told one by one.
TOLD: Final = 20

# Repairs of one run: what the first overtakes or trips over, the next sees as it is then.
REPAIRS: Final = 3

_PAUSE: Final = 0.25

TABLES: Final = (CLUSTERS, REPORTS, SCHEDULES, EVENTS, names.TABLE)


@dataclass(slots=True)
class Verified:
    """What a look has found.

    Attributes:
        compared: Per table, rows that should be there (for names: names held).
        different: Per table, rows that are not as they should be.
        first: The first of them.
        passed_over: Per table, rows whose record PostgreSQL cannot take, as the sink has found before.
        first_passed_over: The first of them, each with its table, id and why.
        repaired: Per table, rows that differed in the looks before and were written again.
    """

    compared: Counter[str] = field(default_factory=Counter)
    different: Counter[str] = field(default_factory=Counter)
    first: list[Difference] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    first_passed_over: list[tuple[str, str, str]] = field(default_factory=list)
    repaired: Counter[str] = field(default_factory=Counter)

    @property
    def equal(self) -> bool:
        """Whether nothing differs, of what can be compared."""
        return not self.different

    @property
    def repairable(self) -> bool:
        """Whether a row differs: names are the workers' alone."""
        return any(table != names.TABLE for table in self.different)

    def note(self, differences: Iterable[Difference]) -> None:
        """Count differences and keep the first."""
        for difference in differences:
            self.different[difference.table] += 1
            if len(self.first) < TOLD:
                self.first.append(difference)

    def pass_over(self, refused: RefusedRows) -> None:
        """Count what was refused and keep the first."""
        for row in refused:
            self.passed_over[row[0]] += 1
            if len(self.first_passed_over) < TOLD:
                self.first_passed_over.append(row)


async def verify(settings: RecoverySettings, *, repair: bool = False) -> Verified:
    """Compare, and with `repair` write what differs and compare again.

    Raises:
        NotComparable: the sink is behind, has never run, or has read another Kafka.
        TopicMismatch: the topics are not there as configured.
        NotPermitted: Kafka does not grant what this command needs.
        Unavailable, SinkUnavailable, KafkaError: one of the two is away.
    """
    await require_rights(settings.kafka, VERIFY)
    await check_topics(settings.kafka)
    cluster_id = await kafka_cluster_id(settings.kafka)
    topics = settings.kafka.topics
    ids = await topic_ids(settings.kafka, (topics.state, topics.events))
    pool = Pool(settings.database, application="clusterflow-recovery", session=SESSION)
    try:
        async with Reader(settings.kafka) as reader:
            look = _Look(settings, reader, pool, cluster_id, ids)
            found = await look(Repair(pool, look.refused) if repair else None)
            repaired: Counter[str] = Counter()
            for attempt in range(REPAIRS if repair else 0):
                if not found.repairable:
                    break
                repaired |= found.different
                found = await look(Repair(pool, look.refused) if attempt < REPAIRS - 1 else None)
            repaired.pop(names.TABLE, None)
            return replace(found, repaired=repaired)
    finally:
        await pool.close()


class _Look:
    """One comparison, from waiting for the sink to the names."""

    def __init__(
        self,
        settings: RecoverySettings,
        reader: Reader,
        pool: Pool,
        cluster_id: str,
        topic_ids: Mapping[str, str],
    ) -> None:
        self._settings = settings
        self._topics = settings.kafka.topics
        self._reader = reader
        self._pool = pool
        self._cluster_id = cluster_id
        self._topic_ids = topic_ids
        self.refused = RefusedRows()
        self._widths: Widths = {}

    async def __call__(self, repair: Repair | None) -> Verified:
        found = Verified()
        async with self._comparable() as (rows, positions):
            self._widths = await rows.widths()
            states = names.states(self._reader, self._topics)
            await states.read_to(positions[self._topics.state])
            await self._states(rows, states, found, repair)
            yielded = names.Yielded(await rows.yielded(), states)
            await self._without_record(rows, states, found, repair)
            await self._events(rows, positions[self._topics.events], found, repair)
        found.compared[names.TABLE] = sum(last.said is not None for last in states.last.values())
        stays = min(names.STAYS, self._settings.wait)
        found.pass_over(self.refused)
        found.note(await names.wrong_names(self._settings.kafka, self._reader, states, stays=stays))
        found.note(yielded.differences())
        return found

    # --- when ---------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _comparable(self) -> AsyncIterator[tuple[Snapshot, Mapping[str, Offsets]]]:
        """A snapshot that holds all that the topics held when this began, and its positions by topic."""
        ends = {topic: await self._reader.ends(topic) for topic in (self._topics.state, self._topics.events)}
        deadline = monotonic() + self._settings.wait.total_seconds()
        while True:
            async with snapshot(self._pool, "verify") as rows:
                positions = self._checked(await rows.positions(), ends)
                missing = sum(
                    max(0, end - positions[topic][partition])
                    for topic, of_topic in ends.items()
                    for partition, end in of_topic.items()
                )
                if not missing:
                    await self._check_ends(positions)
                    yield rows, positions
                    return
            if monotonic() >= deadline:
                waited = self._settings.wait.total_seconds()
                raise NotComparable(
                    f"after {waited:g} s the sink is {missing} records behind what the topics held before:"
                    " see whether it runs (`clusterflow sink`), or give it longer (--wait 5m)"
                )
            await asyncio.sleep(_PAUSE)

    def _checked(self, stored: Iterable[StoredPosition], ends: Mapping[str, Offsets]) -> dict[str, Offsets]:
        """Positions by topic and partition.

        Raises: NotComparable: they are of another Kafka or of topics that are gone, or there are none.
        """
        found: dict[str, dict[int, int]] = {topic: dict.fromkeys(of, 0) for topic, of in ends.items()}
        ours = [position for position in stored if position.topic in ends]
        if not ours:
            raise NotComparable(
                f"no sink has stored anything of {' and '.join(ends)} in this database: start one"
                " (`clusterflow sink`); if Kafka was just rebuilt, it goes on from there"
            )
        for position in ours:
            if position.kafka_cluster_id != self._cluster_id:
                raise NotComparable(
                    f"this database holds what was read from Kafka cluster {position.kafka_cluster_id}, but"
                    f" the brokers belong to cluster {self._cluster_id}: point DATABASE_URL or"
                    " KAFKA_BOOTSTRAP_SERVERS back, or see `clusterflow rebuild` if that Kafka is lost"
                )
            present = self._topic_ids.get(position.topic)
            if position.topic_id not in (None, present):
                raise NotComparable(made_anew(position.topic, position.topic_id, present))
            found[position.topic][position.partition] = position.next_offset
        return dict(found)

    async def _check_ends(self, positions: Mapping[str, Offsets]) -> None:
        """Raises: NotComparable: positions behind the ends are of topics that are no more."""
        for topic, of_topic in positions.items():
            ends = await self._reader.ends(topic)
            for partition, position in of_topic.items():
                if position > ends.get(partition, 0):
                    raise NotComparable(
                        f"{topic}/{partition} ends at {ends.get(partition, 0)}, before the sink's position"
                        f" {position}: the topic was made anew or has lost records; see `clusterflow rebuild`"
                    )

    # --- what ---------------------------------------------------------------------------------------

    async def _states(
        self, rows: Snapshot, states: Changelog, found: Verified, repair: Repair | None
    ) -> None:
        async def compare(part: Sequence[StateRows]) -> None:
            by_id = {state.cluster.id.lower(): state for state in part}
            differences = self._takeable(CLUSTERS, await rows.differences(part), by_id)
            if repair is not None and differences:
                ids = sorted({difference.id for difference in differences})
                await repair.states([by_id[id] for id in ids], await rows.places(ids))
            found.note(self.refused.but_for(CLUSTERS, differences))

        async def refused(state: StateRows, refusal: RowsRefused) -> None:
            found.note(self.refused.compared(CLUSTERS, state.cluster.id, refusal))

        with progress("comparing clusters", len(states.last)) as advance:
            async for page in self._pages(states):
                found.compared[CLUSTERS] += len(page)
                found.compared[REPORTS] += sum(len(state.reports) for state in page)
                found.compared[SCHEDULES] += sum(state.schedule is not None for state in page)
                await or_by_halves(page, compare, refused)
                advance(len(page))

    async def _pages(self, states: Changelog) -> AsyncIterator[list[StateRows]]:
        page: list[StateRows] = []
        async for record in states.last_records():
            said = read_state(record)
            assert isinstance(said, State)  # the fold has read it before
            page.append(state_rows(record, said))
            if len(page) == self._settings.page:
                yield page
                page = []
        if page:
            yield page

    async def _without_record(
        self, rows: Snapshot, states: Changelog, found: Verified, repair: Repair | None
    ) -> None:
        seen: dict[str, RecordPosition] = {}
        async for cluster_id, place in rows.all_places():
            if cluster_id.encode() in states.last:
                continue
            found.note([Difference(CLUSTERS, cluster_id, "without record")])
            seen[cluster_id] = place
            if repair is not None and len(seen) == self._settings.page:
                await repair.without_record(seen)
                seen = {}
        if repair is not None and seen:
            await repair.without_record(seen)

    async def _events(self, rows: Snapshot, to: Offsets, found: Verified, repair: Repair | None) -> None:
        suspect: set[str] = set()
        incomparable: set[str] = set()

        async def compare(part: Sequence[EventRow]) -> None:
            suspect.update(difference.id for difference in await rows.event_differences(part))

        async def refused(event: EventRow, refusal: RowsRefused) -> None:
            incomparable.add(event.id.lower())
            found.note(self.refused.compared(EVENTS, event.id.lower(), refusal))

        async for events in self._event_pages(to):
            found.compared[EVENTS] += len(events)
            await or_by_halves(events, compare, refused)
        suspect -= incomparable
        if not suspect:
            return
        # Of an id that comes twice the first counts, as in the sink.
        async for events in self._event_pages(to):
            firsts = {event.id.lower(): event for event in reversed(events) if event.id.lower() in suspect}
            suspect -= firsts.keys()
            differences = self._takeable(EVENTS, await rows.event_differences([*firsts.values()]), firsts)
            if repair is not None and differences:
                await repair.events([firsts[difference.id] for difference in differences])
            found.note(self.refused.but_for(EVENTS, differences))

    def _takeable(
        self, table: str, differences: Sequence[Difference], by_id: Mapping[str, StateRows | EventRow]
    ) -> list[Difference]:
        """The differences of rows that PostgreSQL can take, as far as one can tell; notes the others."""
        for id in {difference.id for difference in differences}:
            if why := too_long(by_id[id], self._widths):
                self.refused.note(table, id, why)
        return self.refused.but_for(table, differences)

    async def _event_pages(self, to: Offsets) -> AsyncIterator[list[EventRow]]:
        async for records in self._reader.batches(self._topics.events, to=to):
            yield [event for record in records if (event := self._event(record)) is not None]

    def _event(self, record: ConsumerRecord) -> EventRow | None:
        """The row of an event; None for one that no sink can read, and has parked."""
        try:
            return read_event(record)
        except MalformedRecord:
            return None
