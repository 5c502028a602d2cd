"""Durable timers: when each entity of one table wants to be woken.

A timer is no record of its own. `Kind.due_at` reads the moment off each state, after every write and after
recovery, so it is exactly as durable as the state it belongs to. What is kept beside the table is an index,
which is made again from the table when a partition comes to this worker. That takes a while for a large one,
so it is done in slices between which commands get their turn (`Indexing`), and no wake is published before.

A wake is a record on the kind's own command topic, published by the owner of the partition
(`agents/waker.py`). It may be delivered again after a crash, to a worker that has just recovered. Then what
it finds must be what its first delivery found, or the same thing would be announced once more under another
id. So the index is completed before any wake is handled, however long that takes.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from prometheus_client import Gauge, Histogram

from domain.entity import S
from tables.due import DueIndex
from tables.typed import TypedTable

log = logging.getLogger("clusterflow.agents")

DUE: Final = Gauge(
    "clusterflow_wakes_due", "Entities due at the last wakes that were left for the next ones", ["kind"]
)
LAG: Final = Histogram(
    "clusterflow_wake_lag_seconds",
    "Time from the moment at which an entity wants to be woken to its wake",
    ["kind"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0),
)

INDEX_SLICE: Final = 250
"""Recovered states that are indexed before commands get their turn: 4 ms."""

PUT_OFF: Final = timedelta(seconds=1)
"""How long a purge that cannot be done yet waits: offsets are committed twice a second."""

V = TypeVar("V")


class Indexing(Generic[V]):
    """Keeps an index beside a table: what recovery brings is noted in it, a slice at a time.

    Args:
        note: Notes one recovered state of a partition under its key.
        forget: Drops a partition from the index.
    """

    def __init__(
        self,
        table: TypedTable[V],
        *,
        note: Callable[[int, bytes, V], None],
        forget: Callable[[int], None],
    ) -> None:
        self._table = table
        self._note = note
        self._forget = forget
        self._left: dict[int, list[bytes]] = {}  # by partition, the keys that are to be noted
        self._incomplete: set[int] = set()  # partitions of which the index does not know everything yet
        table.on_recovered(self._recovered)

    @property
    def done(self) -> bool:
        """Whether every state is noted."""
        return not self._left

    def go_on(self) -> int | None:
        """Note the next slice; returns the partition that this has completed."""
        partition = next(iter(self._left))
        return partition if self._slice(partition) else None

    def complete(self, partition: int) -> None:
        """Note what recovery has brought to a partition and is not noted yet, all of it."""
        while partition in self._incomplete:
            self._slice(partition)

    def again(self, partition: int) -> None:
        """Note all states of a partition once more."""
        self._left[partition] = [*self._table.rows(partition)]

    def _slice(self, partition: int) -> bool:
        keys, rows = self._left[partition], self._table.rows(partition)
        for key in keys[-INDEX_SLICE:]:
            if (data := rows.get(key)) is not None:
                self._note_bytes(partition, key, data)
        del keys[-INDEX_SLICE:]
        if keys:
            return False
        del self._left[partition]
        self._incomplete.discard(partition)
        return True

    def _note_bytes(self, partition: int, key: bytes, data: bytes) -> None:
        try:
            self._note(partition, key, self._table.decode(data))
        except Exception as error:  # one state that cannot be read must not stop the clock of the others
            about = {"key": key.decode(errors="replace"), "error": type(error).__name__}
            log.error("state cannot be read, its clock stands still", extra=about)

    def _recovered(self) -> None:
        for partition in self._table.take_recovered():
            self._forget(partition)
            self._left[partition] = [*self._table.rows(partition)]
            self._incomplete.add(partition)


class Wakes(Generic[S]):
    """The timers of one table.

    Args:
        kind: The kind of its entities, by which metrics name them.

    Attributes:
        more: Set when a wake has left some due entities for the next one.
    """

    def __init__(self, table: TypedTable[Any], due_at: Callable[[S], datetime | None], *, kind: str) -> None:
        self.more = asyncio.Event()
        self._left: set[int] = set()  # the partitions where a wake has left some
        self._counts: dict[int, int] = {}  # by partition, how many entities its last wake has left
        self._shown_due = DUE.labels(kind)
        self._lag = LAG.labels(kind)
        self._due_at = due_at
        self._index = DueIndex()
        self._indexing: Indexing[S] = Indexing(table, note=self.note, forget=self._forget)

    def note(self, partition: int, key: bytes, state: S | None) -> None:
        """Take note of a state that was written, or removed (None)."""
        self._index.set(partition, key, None if state is None else self._due_at(state))

    def put_off(self, partition: int, key: bytes, until: datetime | None) -> None:
        """Have a key come up at another moment than its state says; None: not before it is noted again."""
        self._index.set(partition, key, until)

    def woken(self, moment: datetime, now: datetime) -> None:
        """Measure how late an entity is woken; a broker's clock ahead of ours can make it seem early."""
        self._lag.observe(max(0.0, (now - moment).total_seconds()))

    def leave(self, partition: int, left: int) -> None:
        """Note how many due entities a wake has left; have another one go on with them."""
        self._counts[partition] = left
        self._show_count()
        if left:
            self._left.add(partition)
            self.more.set()

    def take_left(self, partition: int) -> bool:
        """Whether the last wake of a partition has left something; says so once."""
        if partition not in self._left:
            return False
        self._left.discard(partition)
        return True

    def due(self, partition: int, at: datetime, most: int) -> list[tuple[datetime, bytes]]:
        """The first `most` due keys with their moments; a key stays due until it is noted again."""
        self._indexing.complete(partition)
        return self._index.due(partition, at, most)

    def count_due(self, partition: int, *, without: Collection[bytes]) -> int:
        """The number of keys that `due` finds with no limit, some keys left out.

        It costs what is left out, not what is due. After a wake of an earlier time than the one before it,
        the keys that were due by the later time are counted too.
        """
        left_out = sum(self._index.awake(partition, key) for key in without)
        return self._index.count_awake(partition) - left_out

    def wanted_at(self, partition: int) -> datetime | None:
        """When the partition wants its next wake; None if nothing in it waits."""
        return self._index.earliest(partition)

    @property
    def indexed(self) -> bool:
        """Whether every recovered entity is in the index; until then no wake is published."""
        return self._indexing.done

    def index_recovered(self) -> None:
        """Index the next slice of recovered entities."""
        self._indexing.go_on()

    def _forget(self, partition: int) -> None:
        self._index.clear(partition)
        self._counts.pop(partition, None)
        self._show_count()

    def _show_count(self) -> None:
        self._shown_due.set(sum(self._counts.values()))
