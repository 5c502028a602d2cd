"""Finding what PostgreSQL refuses among many rows: the rest is written, and it stands alone."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from sinks.errors import RowsRefused

T = TypeVar("T")


async def or_by_halves(
    rows: Sequence[T],
    write: Callable[[Sequence[T]], Awaitable[None]],
    refused: Callable[[T, RowsRefused], Awaitable[None]],
) -> None:
    """Write all; where PostgreSQL refuses, each half by itself, in order, until what it refuses stands alone.

    Args:
        write: Writes all of them or none.
        refused: What becomes of the one that can't be written.
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
