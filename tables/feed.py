"""The change feed of one kind: what changed in its view, in order, for watchers at their own pace each.

All watchers of a process share one ring of changes, bounded in number and bytes. A watcher holds no queue,
only its place in the ring; one that falls off the ring's end has missed something and is told so. Thus memory
is bounded whatever readers do.

A watcher's position is, per partition of the kind's changelog, the offset after the last record it has seen.
It means the same in every process and after a restart. A process knows per partition from which offset on it
has every change (`_Partition.whole_from`); a position before that is refused, so there is never a silent gap.
A position names its log, so one of another kind's feed is refused as well.
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
"""Bytes of documents a watcher takes at a time, about: what waits in its connection's buffers."""

# A record is taken as uncompacted for this long. The broker promises STATE_HISTORY by its own clock and the
# record's timestamp; the rest is for clocks that differ.
_TRUSTED_SECONDS: Final = (STATE_HISTORY - timedelta(minutes=10)).total_seconds()

_PAGE_ENTRIES: Final = 50  # entries listed at a time
_TOKEN = re.compile(r"([0-9a-f]{12})/([0-9]{1,19}(?:\.[0-9]{1,19}){0,4095})")

WatchEventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


class FellBehind(PermanentError):
    """A watcher has not seen changes that are no longer kept."""


class Watched(NamedTuple):
    """What a watcher wants to see: entities by filter, or just one of them."""

    filter: EntryFilter
    id: str | None = None


class WatchEvent(NamedTuple):
    """What a watcher is told.

    Attributes:
        document: The entity as GET answers it; of one that is gone, the last it answered.
        token: The position after it; empty while the current state is being listed.
    """

    kind: WatchEventType
    document: bytes
    token: str


@dataclass(slots=True)
class _Partition:
    """How far a partition was read.

    Attributes:
        whole_from: From here on every change is in the ring.
        unthinned: No record is missing from the beginning on.
    """

    whole_from: int = 0
    unthinned: bool = True


class _Kept(Struct, gc=False):
    """One change in the ring.

    Attributes:
        place: Where lists show the entity.
        before, after: Its columns, None where it was not or is not there; one object where they are alike.
        document: Of the entity after the change; of one that is gone, before it.
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
    """Fills a view from its changelog and keeps what changed.

    Args:
        topic: The changelog.
        max_changes, max_bytes: Bounds of the ring; bytes are those of the documents, which the view shares.
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
        """Say which log this is: positions in another one are refused.

        Args:
            topic_id: Kafka's id of the topic; None where the broker knows none, and its name must do.
        """
        log = f"{kafka_cluster_id}/{topic_id or self.topic}"
        self._log = blake2b(log.encode(), digest_size=6).hexdigest()

    def watch(self, wanted: Watched, since: FeedPosition | None = None) -> "Watcher":
        """A watcher: of the current state and all changes, or of those since a position which was read here.

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
        """How far the topic was read."""
        return tuple(self._next)

    def has_read(self, position: FeedPosition) -> bool:
        """Whether this process knows everything before a position."""
        return reaches(self.position, position)

    def token(self, position: FeedPosition) -> str:
        """A position as clients carry it."""
        return f"{self._log}/{'.'.join(map(str, position)) or '0'}"

    def position_of(self, token: str) -> FeedPosition:
        """The position a client brings back.

        Raises: Rejected: `VALIDATION_FAILED` if it is none, `WATCH_EXPIRED` if it is of another log.
        """
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise invalid("Last-Event-ID is not an id of this feed", field="Last-Event-ID", value=token)
        if match[1] != self._log:
            raise expired()
        return tuple(int(offset) for offset in match[2].split("."))

    # --- following the topic ----------------------------------------------------------------------

    def apply(self, record: ConsumerRecord) -> None:
        """Take over a record of the changelog; raises whatever makes it unreadable, and is past it then."""
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
        if offset != expected:  # what lies between was compacted away before we read it
            here.unthinned, here.whole_from = False, offset
        if not here.unthinned and record.timestamp / 1000 < self._clock() - _TRUSTED_SECONDS:
            # Records after it may be missing as well, and so what it replaced is not certain.
            here.whole_from = offset + 1
        self._next[partition] = offset + 1

    def _rewound(self) -> None:
        """The log has lost its end and grown another: no position told so far means anything now."""
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
        """The number that the next change will have."""
        return self._end

    def since(self, number: int) -> Iterator[_Kept]:
        """The changes from a number on. Raises: FellBehind: they are not all kept any more."""
        if number < self._first:
            raise FellBehind("the reader fell behind the changes that are kept")
        return (self._ring[n] for n in range(number, self._end))

    def token_of(self, kept: _Kept) -> str:
        """The position after a change, written once for all watchers."""
        if not kept.token:
            kept.token = self.token(kept.position)
        return kept.token

    async def grown(self, end: int) -> None:
        """Wait until there are changes from this number on, or no more will come."""
        while self._end <= end and not self.closed:
            self._awaited = True
            await self._grown.wait()

    def close(self) -> None:
        """Nothing more will come."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._awaited = False
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()


class Watcher:
    """One reader of the feed: first the current state, or what it has missed, then every change.

    The current state is not copied but listed as it is by the time it is taken: a change of an entity that
    is not listed yet is left out, because the list will show it.
    """

    def __init__(self, feed: Feed[Any], wanted: Watched, number: int, since: FeedPosition | None) -> None:
        self._feed = feed
        self._wanted = wanted
        self._number = number  # of the next change to look at
        self._since = since  # until what is looked at lies behind it
        self._listed = BEFORE_ALL if since is None else None  # None: completely
        self._complete = False
        self._token = ""
        self.ended = False  # the one entity it was to watch is gone

    @property
    def number(self) -> int:
        """The number of the next change it will look at."""
        return self._number

    def take(self, about: int = CHUNK) -> list[WatchEvent]:
        """What comes next, about so many bytes of it; empty when there is nothing more for now.

        Raises: FellBehind: it came too late for some changes.
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
        """Its position, if that has moved since it was told last and everything was taken."""
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
        """What the change is for this watcher; None if it does not see it."""
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
            return None  # seen before the reader came (back) here
        if self._listed is not None and change.place > self._listed:
            return None  # still to be listed
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
