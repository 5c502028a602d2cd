"""What a comparison finds: rows that differ, and rows that PostgreSQL cannot take or compare.

The sink has parked the records of the latter, as with a NUL in a text, or a text too long for its column. No
repair brings them in, so they say nothing of whether sink and tables are in order: they are passed over,
counted apart, and told with the reason.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sinks.errors import RowsRefused

log = logging.getLogger("clusterflow.recovery")

# By table and column, the characters that fit.
Widths = Mapping[str, Mapping[str, int]]

# Differences that are told one by one.
MAX_LISTED: Final = 20


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

    An entity stands for all of its rows, since they are stored together or not at all.
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


def too_long(row: Mapping[str, Any], widths: Mapping[str, int]) -> str | None:
    """The first text of a row that does not fit its column; None if all do."""
    for column, width in widths.items():
        text = row.get(column)
        if isinstance(text, str) and len(text) > width:
            return f"{column} has {len(text)} characters, the column takes {width}"
    return None


@dataclass(slots=True)
class Verified:
    """What a look has found.

    Attributes:
        tables: What was compared, in this order.
        compared: Per table, rows that should be there (for names: names held).
        different: Per table, rows that are not as they should be.
        repairable: Those of them that a repair can write.
        first: The first of them.
        passed_over: Per table, rows whose record PostgreSQL cannot take, as the sink has found before.
        first_passed_over: The first of them, each with its table, id and why.
        repaired: Per table, rows that differed in the looks before and were written again.
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
        """Whether nothing differs, of what can be compared."""
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
        """Count what was refused and keep the first."""
        for row in refused:
            self.passed_over[row[0]] += 1
            if len(self.first_passed_over) < MAX_LISTED:
                self.first_passed_over.append(row)
