"""An index of keys by the moment from which a tick has something to do for them.

A tick must cost what is due and not what exists, and a tick with a limit must cost what it takes. So the
index keeps, beside the table, two heaps for each partition. A key is in the sleeping heap, ordered by its
moment, until that moment has come. Then `due` moves it to the awake heap, ordered by the order it was set
with, and it stays there until it is set again.

The truth is the dictionary of entries: one moment and order for each key. The heaps hold pairs of (moment or
order, key) that are never searched. Setting a key again leaves its old pair in a heap, where it is stale: it
no longer matches the entry, and is dropped when it reaches the top. A heap in which most pairs are stale is
built again, so that memory stays in proportion to the keys.

Two details matter. `due` puts the keys it returns back on the heap, because the caller decides by `set`
whether a key is done. And a tick may have an earlier time than the one before it, so a key on the awake heap
is returned only if its moment has come by the time that was asked for.
"""

import heapq
from datetime import datetime
from typing import NamedTuple


class _Entry(NamedTuple):
    moment: datetime
    order: datetime


class DueIndex:
    """Keys by the moment from which a tick has something to do for them."""

    def __init__(self) -> None:
        self._entries: dict[int, dict[bytes, _Entry]] = {}
        self._sleeping: dict[int, list[tuple[datetime, bytes]]] = {}  # by moment
        self._awake: dict[int, list[tuple[datetime, bytes]]] = {}  # keys whose moment has come, by order
        self._woken: dict[int, set[bytes]] = {}  # awake keys that have not been set again since

    def set(self, partition: int, key: bytes, moment: datetime | None, order: datetime | None = None) -> None:
        """Make a key due from this moment on; None removes it. `order` is its place among due keys."""
        entries = self._entries.setdefault(partition, {})
        entry = None if moment is None else _Entry(moment, moment if order is None else order)
        if entries.get(key) == entry:
            return
        self._woken.get(partition, set()).discard(key)
        if entry is None or moment is None:
            entries.pop(key, None)
            return
        entries[key] = entry
        heapq.heappush(self._sleeping.setdefault(partition, []), (moment, key))
        for heaps, place in ((self._sleeping, 0), (self._awake, 1)):
            if len(heaps.get(partition, ())) > 2 * len(entries) + 64:  # most pairs are stale
                self._build_anew(heaps, partition, place)

    def _build_anew(self, heaps: dict[int, list[tuple[datetime, bytes]]], partition: int, place: int) -> None:
        known = {key for _, key in heaps[partition]}
        entries = self._entries[partition]
        heaps[partition] = [(entry[place], key) for key, entry in entries.items() if key in known]
        heapq.heapify(heaps[partition])

    def due(self, partition: int, at: datetime, limit: int | None = None) -> list[tuple[datetime, bytes]]:
        """At most `limit` keys whose moment has come, with their order; they stay due until set again."""
        entries, woken = self._entries.get(partition, {}), self._woken.setdefault(partition, set())
        sleeping, awake = self._sleeping.get(partition, []), self._awake.setdefault(partition, [])
        while sleeping and sleeping[0][0] <= at:
            moment, key = heapq.heappop(sleeping)
            entry = entries.get(key)
            if entry is not None and entry.moment == moment:
                heapq.heappush(awake, (entry.order, key))
                woken.add(key)
        found: dict[bytes, datetime] = {}
        early: list[tuple[datetime, bytes]] = []
        while awake and (limit is None or len(found) < limit):
            order, key = heapq.heappop(awake)
            entry = entries.get(key)
            if entry is None or key not in woken or entry.order != order or key in found:
                continue
            if entry.moment <= at:
                found[key] = order
            else:  # woken by a later tick than this one
                early.append((order, key))
        listed = [(order, key) for key, order in found.items()]
        for waiting in (*listed, *early):
            heapq.heappush(awake, waiting)
        return listed

    def count_awake(self, partition: int) -> int:
        """The number of keys that `due` has found to be due, at any time, and that were not set since."""
        return len(self._woken.get(partition, ()))

    def awake(self, partition: int, key: bytes) -> bool:
        """Whether `count_awake` counts this key."""
        return key in self._woken.get(partition, ())

    def count_due(self, partition: int, at: datetime) -> int:
        """The number of keys whose moment has come; walks over all entries if there is any."""
        first = self.earliest(partition)
        if not self._woken.get(partition) and (first is None or first > at):
            return 0
        return sum(entry.moment <= at for entry in self._entries[partition].values())

    def earliest(self, partition: int) -> datetime | None:
        """The moment of some awake key, else the first moment of a sleeping one; None without keys."""
        entries, woken = self._entries.get(partition, {}), self._woken.get(partition, ())
        awake, sleeping = self._awake.get(partition, []), self._sleeping.get(partition, [])
        while awake:
            order, key = awake[0]
            entry = entries.get(key)
            if entry is not None and entry.order == order and key in woken:
                return entry.moment
            heapq.heappop(awake)
        while sleeping:
            moment, key = sleeping[0]
            entry = entries.get(key)
            if entry is not None and entry.moment == moment:
                return moment
            heapq.heappop(sleeping)
        return None

    def clear(self, partition: int) -> None:
        """Forget a partition."""
        for parts in (self._entries, self._sleeping, self._awake, self._woken):
            parts.pop(partition, None)
