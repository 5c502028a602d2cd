"""Counts the records that agents hold and have not acknowledged, to bound memory and to notice a stall."""

from collections.abc import Collection
from time import monotonic
from typing import Final

from faust.types import TP

from streams.turns.batch import Batch

# Records, and their bytes, over all partitions that are not held; one poll may exceed them.
MAX_BACKLOG: Final = 20_000
MAX_BACKLOG_BYTES: Final = 32 * 1024 * 1024


class Backlog:
    """Counts batches in and out again.

    Held partitions (`streams.turns.lanes`) count separately, because they would use up the others' share.
    They are not fetched, so each has at most what it had when it was held, and one poll more.
    """

    def __init__(self) -> None:
        self._of: dict[TP, tuple[int, int]] = {}  # records, bytes
        self._held: set[TP] = set()
        self._records = self._bytes = 0  # of those not held
        self._progress_at = 0.0  # monotonic; the last time of an acknowledgement or of an empty backlog

    def __bool__(self) -> bool:
        return self._records > 0

    def __contains__(self, tp: TP) -> bool:
        return self._of.get(tp, (0, 0))[0] > 0

    @property
    def full(self) -> bool:
        """Whether no more records should be fetched."""
        return self._records > MAX_BACKLOG or self._bytes > MAX_BACKLOG_BYTES

    def add(self, tp: TP, batch: Batch) -> None:
        """Count a batch in."""
        if self._records == 0:
            self._progress_at = monotonic()
        self._count(tp, len(batch.records), batch.size)

    def remove(self, tp: TP, batch: Batch) -> None:
        """Count a batch out; one from before `clear` is ignored."""
        records, size = self._of.get(tp, (0, 0))
        self._count(tp, -min(records, len(batch.records)), -min(size, batch.size))

    def acknowledged(self, tp: TP, batch: Batch) -> None:
        """Count out a batch that is done."""
        self._progress_at = monotonic()
        self.remove(tp, batch)

    def hold(self, tps: Collection[TP]) -> None:
        """Count these partitions separately."""
        self._recount(tps, -1)
        self._held |= set(tps)

    def release(self, tps: Collection[TP]) -> None:
        """Count these partitions with the others again."""
        self._held -= set(tps)
        self._recount(tps, 1)

    def clear(self) -> None:
        """Forget all counts, because a rebalance has revoked the batches."""
        self._of.clear()
        self._held.clear()
        self._records = self._bytes = 0

    def stalled(self, *, after: float) -> bool:
        """Whether agents have had records of unheld partitions for `after` seconds without progress."""
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
