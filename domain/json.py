"""What JSON of clients may not hold, because no store or encoder behind us could take it."""

from collections.abc import Mapping
from typing import Any, Final

from domain.errors import invalid

MAX_DEPTH: Final = 64  # JSON encoders and PostgreSQL bound their recursion; no real document comes near


def check_json(value: Any, *, field: str) -> None:
    """Refuse what a text column or an encoder downstream does not allow: NUL, and bottomless nesting.

    Raises: Rejected: naming `field`.
    """
    pending = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, str) and "\0" in item:
            raise invalid(f"{field} must not contain the character U+0000", field=field)
        if isinstance(item, Mapping | list | tuple):
            if depth > MAX_DEPTH:
                raise invalid(f"{field} is nested deeper than {MAX_DEPTH} levels", field=field)
            members = [*item, *item.values()] if isinstance(item, Mapping) else item
            pending.extend((member, depth + 1) for member in members)
