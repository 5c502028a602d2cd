"""Compares clusters: the rows of their states, rows without a record, the rows of events, and names."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from aiokafka import ConsumerRecord

from domain.errors import MalformedRecord
from recovery.cluster import names, statements
from recovery.cluster.repair import remove_states, repair_events, repair_states
from recovery.cluster.statements import CLUSTERS, COMPARISONS, EVENTS, REPORTS, SCHEDULES
from recovery.differences import Difference, too_long
from recovery.look import Comparing, Look, remove_extra
from recovery.progress import progress
from recovery.repair import Repair
from sinks.cluster.mapping import FIRST_ID
from sinks.cluster.rows import EventRow, State, StateRows, read_event, read_state, state_rows
from sinks.errors import RowsRefused
from sinks.halves import or_by_halves
from sinks.mapping import columns_of
from streams.writing.outputs import RecordPosition

STORED: Final = (CLUSTERS, REPORTS, SCHEDULES, EVENTS)
TABLES: Final = (*STORED, names.TABLE)


class ClusterCheck:
    """Compares clusters in one look."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._topics = look.settings.kafka.topics
        self._states = names.states(look.reader, self._topics)
        self._yielded = names.Yielded((), self._states)

    async def compare(self) -> None:
        """Compare the rows of states and events, and repair them."""
        await self._states.read_to(self._look.positions[self._topics.state])
        await self._compare_states()
        pairs = await self._look.rows.fetch(statements.YIELDED)
        self._yielded = names.Yielded([(row[0], row[1]) for row in pairs], self._states)
        await remove_extra(self._look, CLUSTERS, self._places(), self._is_known, remove_states)
        await self._compare_events()
        self._look.found.compared[names.TABLE] = sum(
            last.said is not None for last in self._states.last.values()
        )

    async def compare_names(self) -> None:
        """Compare the names in the topics, outside the snapshot because they need time to settle."""
        look = self._look
        stays = min(names.STAYS, look.settings.wait)
        wrong = await names.wrong_names(look.settings.kafka, look.reader, self._states, stays=stays)
        look.found.note(wrong, repairable=False)  # only workers may write names
        look.found.note(self._yielded.differences())

    # --- states -------------------------------------------------------------------------------------

    async def _compare_states(self) -> None:
        comparing = Comparing(self._look, _States(self._look))
        compared = self._look.found.compared
        with progress("comparing clusters", len(self._states.last)) as advance:
            async for page in self._pages():
                compared[CLUSTERS] += len(page)
                compared[REPORTS] += sum(len(state.reports) for state in page)
                compared[SCHEDULES] += sum(state.schedule is not None for state in page)
                await comparing.page(page)
                advance(len(page))

    async def _pages(self) -> AsyncIterator[list[StateRows]]:
        page: list[StateRows] = []
        async for record in self._states.last_records():
            said = read_state(record)
            assert isinstance(said, State)  # the fold has read it before
            page.append(state_rows(record, said))
            if len(page) == self._look.settings.page:
                yield page
                page = []
        if page:
            yield page

    async def _places(self) -> AsyncIterator[tuple[str, RecordPosition]]:
        async for row in self._look.rows.pages(statements.PLACES, after=FIRST_ID):
            yield row[0], RecordPosition(row[1], row[2])

    def _is_known(self, cluster_id: str) -> bool:
        return cluster_id.encode() in self._states.last

    # --- events -------------------------------------------------------------------------------------

    async def _compare_events(self) -> None:
        suspect = await self._suspect_events()
        if not suspect:
            return
        comparing = Comparing(self._look, _Events(self._look))
        # If an id occurs twice, the first event counts, as in the sink.
        async for events in self._event_pages():
            firsts = {event.id.lower(): event for event in reversed(events) if event.id.lower() in suspect}
            suspect -= firsts.keys()
            await comparing.page([*firsts.values()])

    async def _suspect_events(self) -> set[str]:
        """The ids of events that differ from their rows, or from another event with the same id."""
        look, how = self._look, _Events(self._look)
        suspect: set[str] = set()
        incomparable: set[str] = set()

        async def compare(part: Sequence[EventRow]) -> None:
            suspect.update(difference.id for difference in await how.differences(part))

        async def refused(event: EventRow, refusal: RowsRefused) -> None:
            incomparable.add(how.id_of(event))
            look.found.note(look.refused.compared(EVENTS, how.id_of(event), refusal))

        async for events in self._event_pages():
            look.found.compared[EVENTS] += len(events)
            await or_by_halves(events, compare, refused)
        return suspect - incomparable

    async def _event_pages(self) -> AsyncIterator[list[EventRow]]:
        topic = self._topics.events
        async for records in self._look.reader.batches(topic, to=self._look.positions[topic]):
            yield [event for record in records if (event := _event(record)) is not None]


class _States:
    """The rows of clusters (`recovery.look.Compared`); a cluster includes its reports and schedule."""

    table = CLUSTERS

    def __init__(self, look: Look) -> None:
        self._look = look

    def id_of(self, row: StateRows) -> str:
        return row.cluster.id.lower()

    def too_long(self, row: StateRows) -> str | None:
        widths = self._look.widths
        reports = (too_long(report._asdict(), widths[REPORTS]) for report in row.reports)
        return next(filter(None, (too_long(row.cluster._asdict(), widths[CLUSTERS]), *reports)), None)

    async def differences(self, rows: Sequence[StateRows]) -> list[Difference]:
        ids = [state.cluster.id for state in rows]
        expected: Mapping[str, Sequence[tuple[Any, ...]]] = {
            CLUSTERS: [state.cluster for state in rows],
            REPORTS: [report for state in rows for report in state.reports],
            SCHEDULES: [state.schedule for state in rows if state.schedule is not None],
        }
        found: list[Difference] = []
        for table, of_table in expected.items():
            found += await self._look.rows.differences(table, COMPARISONS[table], ids, of_table)
        return found

    async def mend(self, repair: Repair, rows: Sequence[StateRows]) -> None:
        ids = [self.id_of(state) for state in rows]
        places = await self._look.rows.fetch(statements.PLACES_OF, ids)
        seen = {row[0]: RecordPosition(row[1], row[2]) for row in places}
        await repair_states(repair, CLUSTERS, rows, seen)


class _Events:
    """The rows of events (`recovery.look.Compared`)."""

    table = EVENTS

    def __init__(self, look: Look) -> None:
        self._look = look

    def id_of(self, row: EventRow) -> str:
        return row.id.lower()

    def too_long(self, row: EventRow) -> str | None:
        return too_long(row._asdict(), self._look.widths[EVENTS])

    async def differences(self, rows: Sequence[EventRow]) -> list[Difference]:
        columns = columns_of(rows) or [()] * len(EventRow._fields)
        async with self._look.rows.savepoint():
            found = await self._look.rows.fetch(statements.EVENT_DIFFERENCES, *columns)
        return [Difference(EVENTS, row["id"], ", ".join(row["what"])) for row in found]

    async def mend(self, repair: Repair, rows: Sequence[EventRow]) -> None:
        await repair_events(repair, EVENTS, rows)


def _event(record: ConsumerRecord) -> EventRow | None:
    """The row of an event; None for an event that sinks cannot read and have parked."""
    try:
        return read_event(record)
    except MalformedRecord:
        return None
