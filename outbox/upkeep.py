"""What the active relay does beside publishing: it counts what is there, and deletes what is old."""

import asyncio
from datetime import timedelta
from typing import Final

from outbox import metrics
from outbox.table import Counts, Outbox

COUNT_EVERY: Final = 5.0
"""Seconds between two counts, which walk over all pending rows."""

PURGE_EVERY: Final = 60.0
"""Seconds between two looks for rows to delete."""

SLICE: Final = 5000
"""Rows that one statement deletes, so that none locks many rows for long."""


class Gauges:
    """The gauges of a process, over all outboxes of which it is the active relay."""

    def __init__(self) -> None:
        self._counts: dict[int, Counts] = {}

    def show(self, number: int, counts: Counts | None) -> None:
        """Show what is in an outbox; None when another relay counts it."""
        if counts is None:
            self._counts.pop(number, None)
        else:
            self._counts[number] = counts
        all_counts = self._counts.values()
        metrics.PENDING.set(sum(each.pending for each in all_counts))
        metrics.PARKED_ROWS.set(sum(each.parked for each in all_counts))
        metrics.OLDEST.set(max((each.oldest.total_seconds() for each in all_counts), default=0.0))


async def count(outbox: Outbox, gauges: Gauges, number: int) -> None:
    """Count what is in an outbox until cancelled. Raises: as `Outbox` does."""
    try:
        while True:
            gauges.show(number, await outbox.counts())
            await asyncio.sleep(COUNT_EVERY)
    finally:
        gauges.show(number, None)


async def purge(outbox: Outbox, retention: timedelta) -> None:
    """Delete published rows at the end of their retention until cancelled. Raises: as `Outbox` does."""
    while True:
        while await outbox.purge(retention, SLICE) == SLICE:
            pass
        await asyncio.sleep(PURGE_EVERY)
