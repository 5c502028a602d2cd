"""What a comparison finds: rows that differ, and rows that PostgreSQL cannot take or compare.

The sink has parked the records of the latter, as with a NUL in a text, or a text too long for its column. No
repair brings them in, so they say nothing of whether sink and tables are in order: they are passed over,
counted apart, and told with the reason.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sinks.cluster.rows import EventRow, StateRows
from sinks.errors import RowsRefused

log = logging.getLogger("clusterflow.recovery")

# By table and column, the characters that fit.
Widths = Mapping[str, Mapping[str, int]]

CLUSTERS: Final = "clusters"
REPORTS: Final = "controller_status"
SCHEDULES: Final = "reconciliation_schedule"
EVENTS: Final = "cluster_events"


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that is not as its record says.

    Attributes:
        what: `missing`, `without record`, or the columns that differ.
    """

    table: str
    id: str
    what: str


class RefusedRows:
    """What was refused so far in a run, by table and id, with the reason; never what is in the row.

    A cluster stands for its reports and its schedule, since they are stored with it or not at all.
    """

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, str], str] = {}

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        return ((table, id, why) for (table, id), why in self._reasons.items())

    def note(self, table: str, id: str, why: str) -> None:
        """Remember a row, and log it the first time."""
        if (table, id) not in self._reasons:
            self._reasons[table, id] = why
            log.error("row passed over", extra={"table": table, "id": id, "error": why})

    def compared(self, table: str, id: str, refusal: RowsRefused) -> list[Difference]:
        """Note a row that cannot be compared; it differs if that may be the server's fault."""
        if refusal.unclear:
            return [Difference(table, id, f"not comparable: {refusal.why}")]
        self.note(table, id, refusal.why)
        return []

    def but_for(self, table: str, differences: Iterable[Difference]) -> list[Difference]:
        """The differences that are not of refused rows of a table, or of those that belong to it."""
        return [difference for difference in differences if (table, difference.id) not in self._reasons]


def too_long(rows: StateRows | EventRow, widths: Widths) -> str | None:
    """The first text of these rows that does not fit its column; None if all do."""
    if isinstance(rows, EventRow):
        return _too_long(rows, widths[EVENTS])
    reports = (_too_long(report, widths[REPORTS]) for report in rows.reports)
    return next(filter(None, (_too_long(rows.cluster, widths[CLUSTERS]), *reports)), None)


def _too_long(row: Any, widths: Mapping[str, int]) -> str | None:
    for column, width in widths.items():
        text = getattr(row, column, None)
        if isinstance(text, str) and len(text) > width:
            return f"{column} has {len(text)} characters, the column takes {width}"
    return None
