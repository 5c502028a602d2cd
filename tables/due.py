"""Which clusters time has something to do for: two heaps a partition, beside the cluster table.

A tick must cost what is due, not what exists, and where it may only take so many, what it takes. A key sleeps
until its moment and then is awake, in its order among the others. The heaps hold (moment or order, key)
pairs; a key that was set anew leaves a stale pair behind, which is dropped when it comes up.
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
        self._awake: dict[int, list[tuple[datetime, bytes]]] = {}  # whose moment has come, by order
        self._woken: dict[int, set[bytes]] = {}  # those of them that were not set anew since

    def set(self, partition: int, key: bytes, moment: datetime | None, order: datetime | None = None) -> None:
        """A key is to be looked at from this moment on; None: never. `order`: its place among those due."""
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
            if len(heaps.get(partition, ())) > 2 * len(entries) + 64:  # mostly stale: often written
                self._build_anew(heaps, partition, place)

    def _build_anew(self, heaps: dict[int, list[tuple[datetime, bytes]]], partition: int, place: int) -> None:
        known = {key for _, key in heaps[partition]}
        entries = self._entries[partition]
        heaps[partition] = [(entry[place], key) for key, entry in entries.items() if key in known]
        heapq.heapify(heaps[partition])

    def due(self, partition: int, at: datetime, limit: int | None = None) -> list[tuple[datetime, bytes]]:
        """The keys whose moment has come, with their order, at most `limit`; they stay due until set anew."""
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

    def count_due(self, partition: int, at: datetime) -> int:
        """How many keys' moment has come; looks at all of them if there is any."""
        first = self.earliest(partition)
        if not self._woken.get(partition) and (first is None or first > at):
            return 0
        return sum(entry.moment <= at for entry in self._entries[partition].values())

    def earliest(self, partition: int) -> datetime | None:
        """The moment of one that is due, the first moment while none is; None while none ever will be."""
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
