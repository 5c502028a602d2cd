"""One comparison of the database with the topics, in the parts that all kinds share."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from recovery.differences import Difference, RefusedRows, Verified, Widths
from recovery.repair import Repair
from recovery.settings import RecoverySettings
from recovery.snapshot import Snapshot
from sinks.errors import RowsRefused
from sinks.halves import or_by_halves
from streams.reading.replay import Offsets, Reader

T = TypeVar("T")
R = TypeVar("R", contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The inputs of a comparison, and its findings.

    Attributes:
        rows: The database at one moment.
        positions: By topic, the positions up to which these rows reflect it.
        widths: The maximum widths of the columns of all tables.
        refused: Rows that PostgreSQL has refused, in this comparison or an earlier one.
        repair: Writes rows that differ; None for a comparison without repair.
    """

    settings: RecoverySettings
    reader: Reader
    rows: Snapshot
    positions: Mapping[str, Offsets]
    widths: Widths
    found: Verified
    refused: RefusedRows
    repair: Repair | None


class Compared(Protocol[R]):
    """How rows of one type are compared with a table, or with all tables of one entity."""

    @property
    def table(self) -> str:
        """The table under which a refused row is noted."""

    def id_of(self, row: R) -> str:
        """The id of a row, as PostgreSQL formats it."""

    def too_long(self, row: R) -> str | None:
        """The column of the first text that is too long for it."""

    async def differences(self, rows: Sequence[R]) -> list[Difference]:
        """The differences of these rows. Raises: RowsRefused: PostgreSQL cannot even compare one of them."""

    async def mend(self, repair: Repair, rows: Sequence[R]) -> None:
        """Write these rows again. Raises: SinkUnavailable."""


@dataclass(frozen=True, slots=True)
class Comparing(Generic[T]):
    """Compares pages of rows, and repairs those that differ."""

    look: Look
    how: Compared[T]

    async def page(self, rows: Sequence[T]) -> None:
        """Compare rows; find those that PostgreSQL refuses to compare and handle each by itself."""
        await or_by_halves(rows, self._compare, self._refused)

    async def _compare(self, rows: Sequence[T]) -> None:
        by_id = {self.how.id_of(row): row for row in rows}
        differences = self._takeable(await self.how.differences(rows), by_id)
        if self.look.repair is not None and differences:
            ids = sorted({difference.id for difference in differences})
            await self.how.mend(self.look.repair, [by_id[id] for id in ids])
        # Filter again, because the repair may have been refused some of them.
        self.look.found.note(self.look.refused.but_for(self.how.table, differences))

    async def _refused(self, row: T, refusal: RowsRefused) -> None:
        self.look.found.note(self.look.refused.compared(self.how.table, self.how.id_of(row), refusal))

    def _takeable(self, differences: Sequence[Difference], by_id: Mapping[str, T]) -> list[Difference]:
        """The differences of rows that PostgreSQL can presumably store; notes the others."""
        for id in {difference.id for difference in differences}:
            if why := self.how.too_long(by_id[id]):
                self.look.refused.note(self.how.table, id, why)
        return self.look.refused.but_for(self.how.table, differences)


async def remove_extra(
    look: Look,
    table: str,
    places: AsyncIterator[tuple[str, T]],
    known: Callable[[str], bool],
    remove: Callable[[Repair, Mapping[str, T]], Awaitable[None]],
) -> None:
    """Note rows without a record, and remove them if there is a repair.

    Args:
        places: Each row's id, and a value by which the removal checks that the row is unchanged.
        known: Whether there is a record for the row of an id.
    """
    seen: dict[str, T] = {}
    async for id, place in places:
        if known(id):
            continue
        look.found.note([Difference(table, id, "without record")])
        seen[id] = place
        if look.repair is not None and len(seen) == look.settings.page:
            await remove(look.repair, seen)
            seen = {}
    if look.repair is not None and seen:
        await remove(look.repair, seen)
