"""Which clusters time has something to do for: a heap a partition, beside the cluster table.

A tick must cost what is due, not what exists. The heap holds (moment, key) pairs; a key whose moment has
changed since leaves a stale pair behind, which is dropped when it comes up.
"""

import heapq
from collections.abc import Iterable
from datetime import datetime


class DueIndex:
    """Keys by the moment from which a tick has something to do for them."""

    def __init__(self) -> None:
        self._heaps: dict[int, list[tuple[datetime, bytes]]] = {}
        self._moments: dict[int, dict[bytes, datetime]] = {}

    def set(self, partition: int, key: bytes, moment: datetime | None) -> None:
        """A key is to be looked at from this moment on; None: never."""
        moments = self._moments.setdefault(partition, {})
        if moment is None:
            moments.pop(key, None)
        elif moments.get(key) != moment:
            moments[key] = moment
            heap = self._heaps.setdefault(partition, [])
            heapq.heappush(heap, (moment, key))
            if len(heap) > 2 * len(moments) + 64:  # mostly stale: a cluster that is written often
                self._heaps[partition] = [(at, k) for k, at in moments.items()]
                heapq.heapify(self._heaps[partition])

    def due(self, partition: int, at: datetime) -> list[bytes]:
        """The keys whose moment has come; they stay due until `set` again."""
        heap = self._heaps.get(partition, [])
        moments = self._moments.get(partition, {})
        keys = {}
        while heap and heap[0][0] <= at:
            moment, key = heapq.heappop(heap)
            if moments.get(key) == moment and key not in keys:
                keys[key] = moment
        for key, moment in keys.items():
            heapq.heappush(heap, (moment, key))
        return list(keys)

    def earliest(self, partition: int) -> datetime | None:
        """The first moment of a partition; None while it has none."""
        heap, moments = self._heaps.get(partition, []), self._moments.get(partition, {})
        while heap and moments.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def clear(self, partition: int) -> None:
        """Forget a partition."""
        self._heaps.pop(partition, None)
        self._moments.pop(partition, None)

    def partitions(self) -> Iterable[int]:
        """The partitions indexed."""
        return self._moments.keys()
