"""The view of one kind from which `web` answers: every live entity, as the bytes that GET returns, in lists.

A view follows the kind's changelog over every partition without a group, so each process holds all entities.
The kind's reader decodes a record into an `Entry` (`tables/cluster.py`, `tables/entries.py`). The view finds
entries by id and by list, and lets writers wait for the revision that shows their write.

A list is kept in order for each filter that has been asked for. An entry moves between lists when its columns
change, and never within a list, because its place is fixed when it is created.
"""

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Hashable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Final, Generic, Protocol, TypeVar

from aiokafka import ConsumerRecord
from msgspec import Struct

from streams.claims import Claims
from streams.headers import ANSWERS

MAX_ORDERS: Final = 256
"""How many filters have their lists kept in order; others are sorted again when used."""

SortKey = tuple[float, str | bytes]
"""The place of an entity in lists, which never changes; its number is finite."""

BEFORE_ALL: Final[SortKey] = (float("-inf"), "")
"""The place before every entity."""


class EntryFilter(Hashable, Protocol):
    """The filter of a list."""

    def shows(self, columns: Any, /) -> bool:
        """Whether an entity with these columns is shown."""


class Entry(Protocol):
    """One live entity as its readers see it; frozen."""

    @property
    def id(self) -> str:
        """Its id, which is the key of its records."""

    @property
    def columns(self) -> Any:
        """The columns that lists filter by; equal for two entries if no filter distinguishes them."""

    @property
    def version(self) -> str:
        """Its ETag, without the quotes."""

    @property
    def document(self) -> bytes:
        """The JSON that GET answers."""

    @property
    def place(self) -> SortKey:
        """Its place in lists."""

    def filters(self) -> Iterable[EntryFilter]:
        """Every filter that shows it."""


Ent = TypeVar("Ent", bound=Entry)

OnAnswer = Callable[[str, str, Ent | None], None]
"""Takes an id of a command or report, the id of the entity, and its entry, None once it is deleted."""

StateReader = Callable[[str, bytes, Ent | None], tuple[int, Ent | None]]
"""Reads a state: given the entity's id, the JSON and the previous entry, it returns the revision and the
entry, which is None once the entity is deleted. Unchanged parts may be shared with the previous entry.
"""


class EntryChange(Struct, Generic[Ent], frozen=True, gc=False):
    """The change that a record makes to the answer of GET; there is a `before`, an `after`, or both.

    Attributes:
        before: None if the entity did not exist before.
        after: None if the entity no longer exists.
        place: Its place in lists.
    """

    before: Ent | None
    after: Ent | None
    place: SortKey


class _Row(Struct, Generic[Ent], gc=False):
    """An entity from its first record to its last, as lists hold it, so that a new document changes no list.

    Reading a page of many entities mostly waits for memory, so the document is one step away from its row.
    """

    document: bytes
    entry: Ent
    place: SortKey


_place: Final = attrgetter("place")


def _alike(entry: Entry) -> str:
    return ""


def _alone(entry: Entry) -> None:
    return None


class View(Generic[Ent]):
    """The questions that readers may ask about the entities of one kind.

    Args:
        read: Reads the states of its changelog.
        counted: The value by which entries are counted; it depends on an entry's columns alone.
        grouped: The value by which entries are found together, if any; it depends on the columns alone, too.

    Attributes:
        on_answer: Called for each command or report that a record of the changelog answers, once the view
            shows that record.
    """

    def __init__(
        self,
        read: StateReader[Ent],
        *,
        counted: Callable[[Ent], str] = _alike,
        grouped: Callable[[Ent], str | None] = _alone,
    ) -> None:
        self._read = read
        self._counted = counted
        self._grouped = grouped
        self._groups: dict[str, set[str]] = {}
        self._claims = Claims()
        self._rows: dict[str, _Row[Ent]] = {}
        self._revisions: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._orders: dict[EntryFilter, list[_Row[Ent]]] = {}
        self._waiting: dict[str, list[tuple[int, asyncio.Future[None]]]] = {}
        self.on_answer: OnAnswer[Ent] = lambda answered, entity_id, entry: None

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, entity_id: str) -> Ent | None:
        """A live entity; None if there is none with this id."""
        row = self._rows.get(entity_id)
        return None if row is None else row.entry

    def revision(self, entity_id: str) -> int:
        """The revision of an entity that this view shows; 0 if it knows none."""
        return self._revisions.get(entity_id, 0)

    def page(self, wanted: EntryFilter, *, limit: int, offset: int) -> tuple[list[bytes], int]:
        """The documents of one page of a list and the number of all matches.

        The cost is O(page) if the filter was used before.
        """
        order = self._order(wanted)
        return [row.document for row in order[offset : offset + limit]], len(order)

    def after(self, wanted: EntryFilter, place: SortKey, *, limit: int) -> list[Ent]:
        """The next entries of a list after a place; the cost is O(limit) if the filter was used before."""
        order = self._order(wanted)
        start = bisect_right(order, place, key=_place)
        return [row.entry for row in order[start : start + limit]]

    def counts(self) -> Mapping[str, int]:
        """The number of live entities by the value they are counted by; 0 if none is left."""
        return self._counts

    def group(self, value: str) -> list[Ent]:
        """The entries that are grouped by this value, in the order of lists."""
        found = (self._rows[entity_id] for entity_id in self._groups.get(value, ()))
        return [row.entry for row in sorted(found, key=_place)]

    def _order(self, wanted: EntryFilter) -> list[_Row[Ent]]:
        order = self._orders.pop(wanted, None)
        if order is None:
            rows = (row for row in self._rows.values() if wanted.shows(row.entry.columns))
            order = sorted(rows, key=_place)
            if len(self._orders) >= MAX_ORDERS:
                del self._orders[next(iter(self._orders))]
        self._orders[wanted] = order  # last in the dict: used most recently
        return order

    # --- following the topic ----------------------------------------------------------------------

    def apply(self, record: ConsumerRecord) -> EntryChange[Ent] | None:
        """Apply a record of the changelog; return its change, or None if GET answers as before."""
        if not self._claims.admits(record):
            return None
        entity_id = record.key.decode()
        row = self._rows.get(entity_id)
        if record.value is None:
            self._revisions.pop(entity_id, None)
            return self._replace(entity_id, row, None)
        revision, entry = self._read(entity_id, record.value, None if row is None else row.entry)
        change = self._replace(entity_id, row, entry)
        self._revisions[entity_id] = revision
        if self._waiting:
            self._end_waits(entity_id, revision)
        if len(record.headers) > 1:  # more than its claim
            for name, value in record.headers:
                if name == ANSWERS and value is not None:
                    self.on_answer(value.decode(errors="replace"), entity_id, entry)
        return change

    def when_shown(self, entity_id: str, revision: int, shown: asyncio.Future[None]) -> None:
        """Complete a future as soon as this view shows a revision of an entity, or a later one.

        A caller that gives up waiting calls `forget`.
        """
        if self._revisions.get(entity_id, 0) >= revision:
            shown.set_result(None)
        else:
            self._waiting.setdefault(entity_id, []).append((revision, shown))

    def forget(self, entity_id: str, shown: asyncio.Future[None]) -> None:
        """Stop tracking a future."""
        self._wait_on(entity_id, [each for each in self._waiting.get(entity_id, ()) if each[1] is not shown])

    def _end_waits(self, entity_id: str, revision: int) -> None:
        left = []
        for wanted, shown in self._waiting.get(entity_id, ()):
            if wanted > revision:
                left.append((wanted, shown))
            elif not shown.done():
                shown.set_result(None)
        self._wait_on(entity_id, left)

    def _wait_on(self, entity_id: str, left: list[tuple[int, asyncio.Future[None]]]) -> None:
        if left:
            self._waiting[entity_id] = left
        else:
            self._waiting.pop(entity_id, None)

    def _replace(self, entity_id: str, row: _Row[Ent] | None, entry: Ent | None) -> EntryChange[Ent] | None:
        before = None if row is None else row.entry
        if entry is None:
            if row is None:
                return None
            del self._rows[entity_id]
        elif row is None:
            row = self._rows[entity_id] = _Row(entry.document, entry, entry.place)
        else:
            row.document, row.entry = entry.document, entry
        if before is None or entry is None or before.columns != entry.columns:
            self._recount(before, -1)
            self._recount(entry, +1)
            self._regroup(entity_id, before, entry)
            if self._orders:
                self._reorder(row, before, entry)
        elif before.document == entry.document:
            return None
        return EntryChange(before, entry, row.place)

    def _recount(self, entry: Ent | None, change: int) -> None:
        if entry is not None:
            counted = self._counted(entry)
            self._counts[counted] = self._counts.get(counted, 0) + change

    def _regroup(self, entity_id: str, before: Ent | None, entry: Ent | None) -> None:
        old, new = (None if each is None else self._grouped(each) for each in (before, entry))
        if old is not None and old != new:
            self._groups[old].discard(entity_id)
            if not self._groups[old]:
                del self._groups[old]
        if new is not None:
            self._groups.setdefault(new, set()).add(entity_id)

    def _reorder(self, row: _Row[Ent], before: Ent | None, entry: Ent | None) -> None:
        gone = set(before.filters()) if before else set()
        come = set(entry.filters()) if entry else set()
        for wanted in gone ^ come:
            if (order := self._orders.get(wanted)) is None:
                continue
            if wanted in gone:
                del order[bisect_left(order, row.place, key=_place)]
            else:
                insort(order, row, key=_place)
