"""The findings of a comparison: rows that differ, and rows that PostgreSQL cannot store or compare.

The sink has parked the records of the latter, for instance because of a NUL in a text, or a text too long for
its column. No repair can write them, so they are no sign that sink and tables disagree: they are skipped,
counted separately, and reported with the reason.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sinks.errors import RowsRefused

log = logging.getLogger("clusterflow.recovery")

# The maximum of characters, by table and column.
Widths = Mapping[str, Mapping[str, int]]

# How many differences are listed one by one.
MAX_LISTED: Final = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that differs from its record.

    Attributes:
        what: `missing`, `without record`, or the columns that differ.
    """

    table: str
    id: str
    what: str


class RefusedRows:
    """The rows refused so far in a run, by table and id, with the reason and without their content.

    An entity represents all of its rows, because they are stored together or not at all.
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
        """Note a row that cannot be compared; it counts as different if the server may be the cause."""
        if refusal.unclear:
            return [Difference(table, id, f"not comparable: {refusal.why}")]
        self.note(table, id, refusal.why)
        return []

    def but_for(self, table: str, differences: Iterable[Difference]) -> list[Difference]:
        """The differences of rows that were not refused in a table, and do not belong to a refused row."""
        return [difference for difference in differences if (table, difference.id) not in self._reasons]


def too_long(row: Mapping[str, Any], widths: Mapping[str, int]) -> str | None:
    """The column of the first text in a row that is too long for it; None if all texts fit."""
    for column, width in widths.items():
        text = row.get(column)
        if isinstance(text, str) and len(text) > width:
            return f"{column} has {len(text)} characters, the column takes {width}"
    return None


@dataclass(slots=True)
class Verified:
    """The findings of one comparison.

    Attributes:
        tables: The tables that were compared, in this order.
        compared: Per table, the number of expected rows (for names: of held names).
        different: Per table, the number of rows that differ.
        repairable: The number of those that a repair can write.
        first: The first differences.
        passed_over: Per table, the number of rows that PostgreSQL cannot store, as the sink has found before.
        first_passed_over: The first of them, each with its table, id and reason.
        repaired: Per table, the number of rows that earlier comparisons found different and repaired.
    """

    tables: tuple[str, ...] = ()
    compared: Counter[str] = field(default_factory=Counter)
    different: Counter[str] = field(default_factory=Counter)
    repairable: Counter[str] = field(default_factory=Counter)
    first: list[Difference] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    first_passed_over: list[tuple[str, str, str]] = field(default_factory=list)
    repaired: Counter[str] = field(default_factory=Counter)

    @property
    def equal(self) -> bool:
        """Whether no row differs, among those that can be compared."""
        return not self.different

    def note(self, differences: Iterable[Difference], *, repairable: bool = True) -> None:
        """Count differences and keep the first."""
        for difference in differences:
            self.different[difference.table] += 1
            if repairable:
                self.repairable[difference.table] += 1
            if len(self.first) < MAX_LISTED:
                self.first.append(difference)

    def pass_over(self, refused: RefusedRows) -> None:
        """Count refused rows and keep the first."""
        for row in refused:
            self.passed_over[row[0]] += 1
            if len(self.first_passed_over) < MAX_LISTED:
                self.first_passed_over.append(row)
