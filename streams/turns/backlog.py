"""Records handed to agents and not yet acknowledged: the bound of their memory, and whether they get on."""

from collections.abc import Collection
from time import monotonic
from typing import Final

from faust.types import TP

from streams.turns.batch import Batch

# Over all partitions that are not held, and their bytes; one poll may go beyond.
MAX_BACKLOG: Final = 20_000
MAX_BACKLOG_BYTES: Final = 32 * 1024 * 1024


class Backlog:
    """Counts batches in and out again.

    Partitions that are held (`streams.turns.lanes`) count apart, for they would use up the others' share.
    They are not fetched, so each has what it had when it was held and one poll more.
    """

    def __init__(self) -> None:
        self._of: dict[TP, tuple[int, int]] = {}  # records, bytes
        self._held: set[TP] = set()
        self._records = self._bytes = 0  # of those not held
        self._progress_at = 0.0  # monotonic; when something was last acknowledged or there was nothing

    def __bool__(self) -> bool:
        return self._records > 0

    def __contains__(self, tp: TP) -> bool:
        return self._of.get(tp, (0, 0))[0] > 0

    @property
    def full(self) -> bool:
        """Whether no more is to be fetched."""
        return self._records > MAX_BACKLOG or self._bytes > MAX_BACKLOG_BYTES

    def add(self, tp: TP, batch: Batch) -> None:
        """Count a batch in."""
        if self._records == 0:
            self._progress_at = monotonic()
        self._count(tp, len(batch.records), batch.size)

    def remove(self, tp: TP, batch: Batch) -> None:
        """Count a batch out; one from before `clear` is passed over."""
        records, size = self._of.get(tp, (0, 0))
        self._count(tp, -min(records, len(batch.records)), -min(size, batch.size))

    def acknowledged(self, tp: TP, batch: Batch) -> None:
        """Count a batch out that is done."""
        self._progress_at = monotonic()
        self.remove(tp, batch)

    def hold(self, tps: Collection[TP]) -> None:
        """Count these apart."""
        self._recount(tps, -1)
        self._held |= set(tps)

    def release(self, tps: Collection[TP]) -> None:
        """Count these with the others."""
        self._held -= set(tps)
        self._recount(tps, 1)

    def clear(self) -> None:
        """Forget all that was counted: a rebalance has taken it back."""
        self._of.clear()
        self._held.clear()
        self._records = self._bytes = 0

    def stalled(self, *, after: float) -> bool:
        """Whether agents have had records of partitions not held for `after` seconds without progress."""
        return self._records > 0 and monotonic() - self._progress_at > after

    def _count(self, tp: TP, records: int, size: int) -> None:
        had_records, had_bytes = self._of.get(tp, (0, 0))
        self._of[tp] = (had_records + records, had_bytes + size)
        if tp not in self._held:
            self._records += records
            self._bytes += size

    def _recount(self, tps: Collection[TP], sign: int) -> None:
        for tp in tps:
            records, size = self._of.get(tp, (0, 0))
            self._records += sign * records
            self._bytes += sign * size
