"""Finds the rows that PostgreSQL refuses among many, and writes the others."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from sinks.errors import RowsRefused

T = TypeVar("T")


async def or_by_halves(
    rows: Sequence[T],
    write: Callable[[Sequence[T]], Awaitable[None]],
    refused: Callable[[T, RowsRefused], Awaitable[None]],
) -> None:
    """Write all rows; if PostgreSQL refuses, write each half by itself, in order, down to single rows.

    Args:
        write: Writes all of them or none.
        refused: Handles a single row that cannot be written.
    """
    try:
        await write(rows)
    except RowsRefused as refusal:
        if len(rows) == 1:
            await refused(rows[0], refusal)
            return
        half = len(rows) // 2
        await or_by_halves(rows[:half], write, refused)
        await or_by_halves(rows[half:], write, refused)
