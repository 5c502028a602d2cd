"""The change feed of one kind: the changes of its view in order, for watchers of different speeds.

All watchers of a process share one ring of changes, bounded in number and bytes. A watcher has no queue, only
a number in the ring. A watcher that the ring has overtaken has missed changes, and gets an error. So memory
is bounded whatever readers do.

A watcher's position is, per partition of the kind's changelog, the offset after the last record it has seen.
It has the same meaning in every process and after a restart. A process knows, per partition, the offset from
which it has every change (`_Partition.whole_from`). A position before that is refused, so there is never a
silent gap. A position also names its log, so a position in another kind's feed is refused as well.
"""

import asyncio
import re
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import Any, Final, Generic, Literal, NamedTuple

from aiokafka import ConsumerRecord
from msgspec import Struct

from domain.errors import PermanentError, invalid
from streams.topic import STATE_HISTORY
from tables.metrics import CHANGES
from tables.positions import FeedPosition, at, expired, later, reaches
from tables.view import BEFORE_ALL, Ent, EntryChange, EntryFilter, SortKey, View

CHUNK: Final = 64 * 1024
"""Approximate bytes of documents that a watcher takes at a time into its connection's buffers."""

# Seconds for which a record counts as uncompacted. The broker promises STATE_HISTORY by its own clock and the
# record's timestamp; the difference is a margin for clocks that disagree.
_TRUSTED_SECONDS: Final = (STATE_HISTORY - timedelta(minutes=10)).total_seconds()

_PAGE_ENTRIES: Final = 50  # entries listed at a time
_TOKEN = re.compile(r"([0-9a-f]{12})/([0-9]{1,19}(?:\.[0-9]{1,19}){0,4095})")

WatchEventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


class FellBehind(PermanentError):
    """A watcher has missed changes that are no longer kept."""


class Watched(NamedTuple):
    """The entities that a watcher wants to see: those that match a filter, or a single one."""

    filter: EntryFilter
    id: str | None = None


class WatchEvent(NamedTuple):
    """An event for a watcher.

    Attributes:
        document: The entity as GET answers it; for a deleted entity, the last such answer.
        token: The position after it; empty while the current state is being listed.
    """

    kind: WatchEventType
    document: bytes
    token: str


@dataclass(slots=True)
class _Partition:
    """How far a partition has been read.

    Attributes:
        whole_from: The offset from which every change is in the ring.
        unthinned: Whether no record has been missing since the beginning.
    """

    whole_from: int = 0
    unthinned: bool = True


class _Kept(Struct, gc=False):
    """One change in the ring.

    Attributes:
        place: The entity's place in lists.
        before, after: Its columns, None if it did not or does not exist; one object if they are equal.
        document: The document after the change, or before it if the entity was deleted.
    """

    id: str
    place: SortKey
    before: Any
    after: Any
    document: bytes
    partition: int
    offset: int
    position: FeedPosition
    token: str = ""


class Feed(Generic[Ent]):
    """Fills a view from its changelog and keeps the changes.

    Args:
        topic: The changelog.
        max_changes, max_bytes: Bounds of the ring, in changes and in bytes of their documents.
        clock: Seconds since the Unix epoch.
    """

    def __init__(
        self,
        view: View[Ent],
        *,
        topic: str,
        max_changes: int = 10_000,
        max_bytes: int = 32 * 1024 * 1024,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.view = view
        self.topic = topic
        self.closed = False
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        self._clock = clock
        self._log = "0" * 12
        self._partitions: list[_Partition] = []
        self._next: list[int] = []  # per partition, the offset after the last record
        self._ring: dict[int, _Kept] = {}  # by number, without gaps
        self._first = 0
        self._end = 0
        self._bytes = 0
        self._grown = asyncio.Event()
        self._awaited = False

    def identify(self, kafka_cluster_id: str, topic_id: str | None = None) -> None:
        """Set the identity of the log; positions in another log are refused.

        Args:
            topic_id: Kafka's id of the topic; None if the broker has none, so that the name is used.
        """
        log = f"{kafka_cluster_id}/{topic_id or self.topic}"
        self._log = blake2b(log.encode(), digest_size=6).hexdigest()

    def watch(self, wanted: Watched, since: FeedPosition | None = None) -> "Watcher":
        """A watcher of the current state and all later changes, or of the changes since a position.

        Raises: Rejected: `WATCH_EXPIRED`, not all changes since then are known here.
        """
        if since is None:
            return Watcher(self, wanted, self._end, None)
        assert self.has_read(since), "whoever asks has waited for it"
        if any(at(since, n) < each.whole_from for n, each in enumerate(self._partitions)):
            raise expired()
        numbers = range(self._first, self._end)
        start = bisect_left(numbers, True, key=lambda n: not reaches(since, self._ring[n].position))
        return Watcher(self, wanted, self._first + start, since)

    # --- positions --------------------------------------------------------------------------------

    @property
    def position(self) -> FeedPosition:
        """The position up to which the topic has been read."""
        return tuple(self._next)

    def has_read(self, position: FeedPosition) -> bool:
        """Whether this process knows everything before a position."""
        return reaches(self.position, position)

    def token(self, position: FeedPosition) -> str:
        """A position as the token that clients carry."""
        return f"{self._log}/{'.'.join(map(str, position)) or '0'}"

    def position_of(self, token: str) -> FeedPosition:
        """The position in a client's token.

        Raises: Rejected: `VALIDATION_FAILED` if it is no token, `WATCH_EXPIRED` if it is of another log.
        """
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise invalid("Last-Event-ID is not an id of this feed", field="Last-Event-ID", value=token)
        if match[1] != self._log:
            raise expired()
        return tuple(int(offset) for offset in match[2].split("."))

    # --- following the topic ----------------------------------------------------------------------

    def apply(self, record: ConsumerRecord) -> None:
        """Apply a record of the changelog; an unreadable one raises its error, and counts as read."""
        self._read(record)
        change = self.view.apply(record)
        if change is None:
            return
        CHANGES.count += 1
        self._keep(change, record)
        if self._awaited:
            self._wake()

    def _read(self, record: ConsumerRecord) -> None:
        partition, offset = record.partition, record.offset
        while len(self._next) <= partition:
            self._partitions.append(_Partition())
            self._next.append(0)
        here, expected = self._partitions[partition], self._next[partition]
        if offset < expected:
            self._rewound()
        if offset != expected:  # the records in between were compacted away before we read them
            here.unthinned, here.whole_from = False, offset
        if not here.unthinned and record.timestamp / 1000 < self._clock() - _TRUSTED_SECONDS:
            # Records after it may be missing as well, so the state that it replaced is uncertain.
            here.whole_from = offset + 1
        self._next[partition] = offset + 1

    def _rewound(self) -> None:
        """Handle a log that has lost its end and grown another: no earlier position means anything now."""
        self.identify(self._log, "rewound")
        self._ring.clear()
        self._bytes = 0
        self._first = self._end = self._end + 1
        for each, end in zip(self._partitions, self._next, strict=True):
            each.whole_from = end

    def _keep(self, change: EntryChange[Ent], record: ConsumerRecord) -> None:
        was, now = change.before, change.after
        shown = was if now is None else now
        assert shown is not None
        before = None if was is None else was.columns
        after = None if now is None else now.columns
        self._ring[self._end] = _Kept(
            shown.id,
            change.place,
            before,
            before if after == before else after,
            shown.document,
            record.partition,
            record.offset,
            tuple(self._next),
        )
        self._end += 1
        self._bytes += len(shown.document)
        kept = self._end - self._first
        while kept > self._max_changes or (self._bytes > self._max_bytes and kept > 1):
            self._drop_first()
            kept -= 1

    def _drop_first(self) -> None:
        dropped = self._ring.pop(self._first)
        self._first += 1
        self._bytes -= len(dropped.document)
        here = self._partitions[dropped.partition]
        if here.whole_from <= dropped.offset:
            here.whole_from = dropped.offset + 1

    # --- for watchers -----------------------------------------------------------------------------

    @property
    def end(self) -> int:
        """The number of the next change."""
        return self._end

    def since(self, number: int) -> Iterator[_Kept]:
        """The changes from a number on. Raises: FellBehind: some of them are no longer kept."""
        if number < self._first:
            raise FellBehind("the reader fell behind the changes that are kept")
        return (self._ring[n] for n in range(number, self._end))

    def token_of(self, kept: _Kept) -> str:
        """The token of the position after a change, made once for all watchers."""
        if not kept.token:
            kept.token = self.token(kept.position)
        return kept.token

    async def grown(self, end: int) -> None:
        """Wait until there are changes from this number on, or the feed is closed."""
        while self._end <= end and not self.closed:
            self._awaited = True
            await self._grown.wait()

    def close(self) -> None:
        """Close the feed: no more changes will come."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._awaited = False
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()


class Watcher:
    """One reader of the feed: it gets the current state or the changes it has missed, then every change.

    The current state is not copied but listed as it is by the time the reader takes it. So a change of an
    entity that is not listed yet is omitted, because the list will show it.
    """

    def __init__(self, feed: Feed[Any], wanted: Watched, number: int, since: FeedPosition | None) -> None:
        self._feed = feed
        self._wanted = wanted
        self._number = number  # of the next change to look at
        self._since = since  # None once the changes are past this position
        self._listed = BEFORE_ALL if since is None else None  # None: the list is complete
        self._complete = False
        self._token = ""
        self.ended = False  # whether the single entity that it watches is deleted

    @property
    def number(self) -> int:
        """The number of the next change it will look at."""
        return self._number

    def take(self, about: int = CHUNK) -> list[WatchEvent]:
        """The next events, approximately `about` bytes of them; empty if there are none for now.

        Raises: FellBehind: some changes are no longer kept.
        """
        events: list[WatchEvent] = []
        room = self._take_changes(events, about)
        if room > 0 and self._listed is not None:
            room = self._take_listed(events, self._listed, room)
        if room > 0 and not self._complete:
            self._complete = True
            events.append(self._bookmark())
            self._token = events[-1].token
        return events

    def bookmark(self) -> WatchEvent | None:
        """Its position, if everything was taken and the position has moved since it was last returned."""
        event = self._bookmark()
        if not self._complete or self._number < self._feed.end or event.token == self._token:
            return None
        self._token = event.token
        return event

    def _bookmark(self) -> WatchEvent:
        token = self._feed.token(self._feed.position)
        return WatchEvent("BOOKMARK", b'{"last_event_id":"%b"}' % token.encode(), token)

    def _take_changes(self, events: list[WatchEvent], room: int) -> int:
        for change in self._feed.since(self._number):
            if room <= 0:
                break
            self._number += 1
            kind = self._kind(change)
            if kind is not None:
                token = "" if self._listed is not None else self._token_after(change)
                events.append(WatchEvent(kind, change.document, token))
                room -= len(change.document)
                self.ended = kind == "DELETED" and self._wanted.id is not None
                if self.ended:
                    return 0
        return room

    def _kind(self, change: _Kept) -> WatchEventType | None:
        """The type of event that a change is for this watcher; None if the watcher does not see it."""
        wanted = self._wanted
        if wanted.id is not None and wanted.id != change.id:
            return None
        before = change.before is not None and wanted.filter.shows(change.before)
        after = before
        if change.after is not change.before:
            after = change.after is not None and wanted.filter.shows(change.after)
        if not before and not after:
            return None
        if self._since is not None and change.offset < at(self._since, change.partition):
            return None  # the reader has seen it before it connected
        if self._listed is not None and change.place > self._listed:
            return None  # the list will show it
        return ("MODIFIED" if after else "DELETED") if before else "ADDED"

    def _token_after(self, change: _Kept) -> str:
        if self._since is not None:
            if not reaches(change.position, self._since):
                self._token = self._feed.token(later(change.position, self._since))
                return self._token
            self._since = None
        self._token = self._feed.token_of(change)
        return self._token

    def _take_listed(self, events: list[WatchEvent], listed: SortKey, room: int) -> int:
        while room > 0:
            page = self._page(listed)
            for entry in page:
                events.append(WatchEvent("ADDED", entry.document, ""))
                listed = self._listed = entry.place
                room -= len(entry.document)
                if room <= 0:
                    return room
            if len(page) < _PAGE_ENTRIES:
                self._listed = None
                return room
        return room

    def _page(self, listed: SortKey) -> list[Any]:
        view, (wanted, entity_id) = self._feed.view, self._wanted
        if entity_id is None:
            return view.after(wanted, listed, limit=_PAGE_ENTRIES)
        entry = view.get(entity_id) if listed == BEFORE_ALL else None
        return [entry] if entry is not None and wanted.shows(entry.columns) else []
