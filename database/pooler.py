"""A pooler between us and PostgreSQL, such as PgBouncer, and what speaks of one that we were not told of.

In transaction mode a pooler gives each transaction whatever connection to the server is free. So nothing may
outlive a transaction: no prepared statement, no setting of the session, no lock of the session. And it takes
no parameters at the start of a connection that it cannot carry over. A pooler in session mode takes that as
well.
"""

from enum import StrEnum
from typing import Final


class Pooler(StrEnum):
    """What stands between us and PostgreSQL."""

    NONE = "none"
    TRANSACTION = "transaction"


REASON: Final = "a pooler stands before PostgreSQL: set DATABASE_POOLER=transaction (docs/settings.md)"

# A prepared statement is not there, or is there twice: another connection to the server has ours.
_STATEMENTS: Final = ("26000", "42P05")

_PROTOCOL: Final = "08P01"


def pooler_reason(error: Exception) -> str | None:
    """What to do about an error that only a pooler makes; None for any other."""
    state = getattr(error, "sqlstate", None)
    if state in _STATEMENTS or (state == _PROTOCOL and "startup parameter" in str(error)):
        return REASON
    return None
