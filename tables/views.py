"""The view of all clusters that `web` answers from: bytes as GET returns them, and a few columns to list by.

A view tails `cluster-state` over every partition, without a group: each process holds all clusters. Reading
costs no decoding: a document is cut out of the record as it is.
"""

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping
from datetime import datetime
from operator import attrgetter
from sys import intern
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec
from aiokafka import ConsumerRecord
from msgspec import Raw, Struct, structs

from domain.cluster.state import ControllerReport
from streams.decoding import decoder_of
from streams.turns.claims import Claims

_NO_SECRETS: Final[Mapping[str, str]] = MappingProxyType({})

# Filters whose order is kept at hand; beyond, the one unused for longest is built anew at its next use.
MAX_ORDERS: Final = 256


# Without `gc=False` Python's collector would go through all clusters again and again while a view is filled;
# none of these can be part of a cycle.


class _Platform(Struct, gc=False):
    type: str = ""


class _Spec(Struct, gc=False):
    platform: _Platform


class _Status(Struct, gc=False):
    phase: str


class _Document(Struct, gc=False):
    created_by: str
    generation: int
    resource_version: str
    created_at: datetime
    spec: _Spec
    status: _Status


class _Record(Struct, gc=False):
    revision: int
    cluster: Raw
    reports: Raw
    secrets: dict[str, str] = {}
    deleted_at: datetime | None = None


_record_decoder = msgspec.json.Decoder(_Record)
_document_decoder = msgspec.json.Decoder(_Document)
_reports_decoder = decoder_of(dict[str, ControllerReport])
_status_decoder = msgspec.json.Decoder(dict[str, Raw])


class Columns(Struct, frozen=True, gc=False):
    """What a list filters by; `platform` and `phase` in lower case."""

    owner: str
    platform: str
    phase: str


class Filter(NamedTuple):
    """Which clusters a list shows; None shows all. `platform` and `phase` in lower case."""

    owner: str | None = None
    platform: str | None = None
    phase: str | None = None

    def shows(self, columns: Columns) -> bool:
        """Whether a cluster of these columns is shown."""
        owner, platform, phase = self
        return (
            (owner is None or owner == columns.owner)
            and (platform is None or platform == columns.platform)
            and (phase is None or phase == columns.phase)
        )


SortKey = tuple[float, str]
"""Where lists show a cluster: newest first, then by id. It never changes."""


def place_of(created_at: datetime, cluster_id: str) -> SortKey:
    """Where lists show a cluster that was created then."""
    return (-created_at.timestamp(), cluster_id)


class ClusterEntry(Struct, frozen=True, gc=False):
    """One live cluster.

    Attributes:
        columns: What lists filter it by.
        document: The JSON that GET answers.
        reports: The JSON object of its controllers' reports.
        secrets: Members of its spec that the document leaves out, encrypted.
    """

    id: str
    columns: Columns
    generation: int
    resource_version: str
    created_at: datetime
    document: bytes
    reports: bytes
    secrets: Mapping[str, str]

    @property
    def place(self) -> SortKey:
        """Where lists show it."""
        return place_of(self.created_at, self.id)

    @property
    def owner(self) -> str:
        """Whose it is."""
        return self.columns.owner

    def filters(self) -> Iterator[Filter]:
        """Every filter that shows it."""
        for owner in (None, self.columns.owner):
            for platform in (None, self.columns.platform):
                for phase in (None, self.columns.phase):
                    yield Filter(owner, platform, phase)

    def controller_statuses(self) -> Mapping[str, ControllerReport]:
        """Its controllers' reports by name."""
        return _reports_decoder.decode(self.reports)

    def status(self) -> Raw:
        """The status object, as it stands in the document."""
        return _status_decoder.decode(self.document)["status"]


class _Row(Struct, gc=False):
    """Where a cluster stands, from its first record to its last.

    Lists hold rows: a new document changes the row and no list. A page of many clusters waits for memory most
    of all, so from a row its document is one step.
    """

    document: bytes
    entry: ClusterEntry
    place: SortKey


_place: Final = attrgetter("place")


class EntryChange(Struct, frozen=True, gc=False):
    """What a record changed in what GET answers: None before it is there, and after it is gone."""

    before: ClusterEntry | None
    after: ClusterEntry | None


class ClusterView:
    """What readers may ask about clusters."""

    def __init__(self) -> None:
        self._claims = Claims()
        self._rows: dict[str, _Row] = {}
        self._revisions: dict[str, int] = {}
        self._phases: dict[str, int] = {}
        self._orders: dict[Filter, list[_Row]] = {}
        self._waiting: dict[str, list[tuple[int, asyncio.Future[None]]]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, cluster_id: str) -> ClusterEntry | None:
        """A live cluster."""
        row = self._rows.get(cluster_id)
        return None if row is None else row.entry

    def page(self, wanted: Filter, *, limit: int, offset: int) -> tuple[list[bytes], int]:
        """The documents of one page of a list and the number of all matches.

        O(page) once a filter was used before.
        """
        order = self._order(wanted)
        return [row.document for row in order[offset : offset + limit]], len(order)

    def after(self, wanted: Filter, place: SortKey, *, limit: int) -> list[ClusterEntry]:
        """The next entries of a list behind a place; O(limit) once a filter was used before."""
        order = self._order(wanted)
        start = bisect_right(order, place, key=_place)
        return [row.entry for row in order[start : start + limit]]

    def _order(self, wanted: Filter) -> list[_Row]:
        order = self._orders.pop(wanted, None)
        if order is None:
            rows = (row for row in self._rows.values() if wanted.shows(row.entry.columns))
            order = sorted(rows, key=_place)
            if len(self._orders) >= MAX_ORDERS:
                del self._orders[next(iter(self._orders))]
        self._orders[wanted] = order  # last in the dict: used most recently
        return order

    def count_by_phase(self) -> Mapping[str, int]:
        """Live clusters per phase, 0 for one that has none left."""
        return self._phases

    # --- following the topic ----------------------------------------------------------------------

    def apply(self, record: ConsumerRecord) -> EntryChange | None:
        """Take over a record of `cluster-state`; returns what it changed, None when GET answers as before."""
        if not self._claims.admits(record):
            return None
        cluster_id = record.key.decode()
        if record.value is None:
            self._revisions.pop(cluster_id, None)
            return self._replace(cluster_id, None)
        decoded = _record_decoder.decode(record.value)
        entry = None if decoded.deleted_at else _entry(cluster_id, decoded, self.get(cluster_id))
        change = self._replace(cluster_id, entry)
        self._revisions[cluster_id] = decoded.revision
        if self._waiting:
            self._tell_waiting(cluster_id, decoded.revision)
        return change

    def when_shown(self, cluster_id: str, revision: int, shown: asyncio.Future[None]) -> None:
        """Have a future done as soon as this view shows a revision of a cluster (or a later one).

        Whoever waits for it no longer says so by `forget`.
        """
        if self._revisions.get(cluster_id, 0) >= revision:
            shown.set_result(None)
        else:
            self._waiting.setdefault(cluster_id, []).append((revision, shown))

    def forget(self, cluster_id: str, shown: asyncio.Future[None]) -> None:
        """Leave a future alone."""
        self._wait_on(
            cluster_id, [each for each in self._waiting.get(cluster_id, ()) if each[1] is not shown]
        )

    def _tell_waiting(self, cluster_id: str, revision: int) -> None:
        left = []
        for wanted, shown in self._waiting.get(cluster_id, ()):
            if wanted > revision:
                left.append((wanted, shown))
            elif not shown.done():
                shown.set_result(None)
        self._wait_on(cluster_id, left)

    def _wait_on(self, cluster_id: str, left: list[tuple[int, asyncio.Future[None]]]) -> None:
        if left:
            self._waiting[cluster_id] = left
        else:
            self._waiting.pop(cluster_id, None)

    def _replace(self, cluster_id: str, entry: ClusterEntry | None) -> EntryChange | None:
        row = self._rows.get(cluster_id)
        before = None if row is None else row.entry
        if entry is None:
            if row is None:
                return None
            del self._rows[cluster_id]
        elif row is None:
            row = self._rows[cluster_id] = _Row(entry.document, entry, entry.place)
        else:
            row.document, row.entry = entry.document, entry
        if before is None or entry is None or before.columns != entry.columns:
            self._recount(before, -1)
            self._recount(entry, +1)
            if self._orders:
                self._reorder(row, before, entry)
        elif before.document == entry.document:
            return None
        return EntryChange(before, entry)

    def _recount(self, entry: ClusterEntry | None, change: int) -> None:
        if entry is not None:
            phase = entry.columns.phase
            self._phases[phase] = self._phases.get(phase, 0) + change

    def _reorder(self, row: _Row, before: ClusterEntry | None, entry: ClusterEntry | None) -> None:
        gone = set(before.filters()) if before else set()
        come = set(entry.filters()) if entry else set()
        for wanted in gone ^ come:
            if (order := self._orders.get(wanted)) is None:
                continue
            if wanted in gone:
                del order[bisect_left(order, row.place, key=_place)]
            else:
                insort(order, row, key=_place)


def _entry(cluster_id: str, record: _Record, before: ClusterEntry | None) -> ClusterEntry:
    document, reports = bytes(record.cluster), bytes(record.reports)
    secrets = record.secrets or _NO_SECRETS
    if before is not None and before.document == document:
        # One document in memory, however many records carry it.
        return structs.replace(before, reports=reports, secrets=secrets)
    shown = _document_decoder.decode(document)
    return ClusterEntry(
        cluster_id,
        Columns(
            intern(shown.created_by),  # one text for all clusters that have it: less memory, and at hand
            intern(shown.spec.platform.type.lower()),
            intern(shown.status.phase.lower()),
        ),
        shown.generation,
        shown.resource_version,
        shown.created_at,
        document,
        reports,
        secrets,
    )
