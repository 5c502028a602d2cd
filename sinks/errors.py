"""The meaning of a database error for the records that were being written.

SinkUnavailable     nothing is wrong with them: wait, then continue from the stored positions
LockHeld            the same, and the session that holds the lock may be frozen
PositionsMoved      another writer has them: continue from the stored positions
RowsRefused         one of them will never be stored
anything else       a bug in this program, which must log it and end
"""

from collections.abc import Mapping

import asyncpg

from database import pooler_reason
from domain.errors import ControlPlaneError, PermanentError, SinkUnavailable

# Keyed by SQLSTATE, or by its class, which is the first two characters.
_AWAY = {
    "08": "the connection is gone",
    "0A": "the schema has changed under a prepared statement",
    "25": "the server is read-only, or ended the transaction",
    "28": "the server does not let us in",
    "3D": "the database does not exist",
    "40": "another transaction was in the way",
    "42501": "a right is missing",
    "42P01": "a table is missing: `clusterflow migrate` has not run",
    "42703": "a column is missing: `clusterflow migrate` has not run",
    "53": "the server is out of disk, memory or connections",
    "55": "a lock is held",
    "57": "the server shuts down or starts, or cancelled the statement",
    "58": "the server cannot use its disk",
    "XX001": "the server's data is damaged",
    "XX002": "an index of the server is damaged",
}
_REFUSED = {
    "21": "a row comes twice",
    "22": "a value does not fit its column",
    "23": "a constraint does not hold",
}
# The cause may be the row or the moment, so the row is tried again before it is given up.
_UNCLEAR = {
    "54": "too large or too deep for PostgreSQL",
    "XX": "an internal error of the server",
}


class LockHeld(SinkUnavailable):
    """Another session has held a lock for too long."""


class PositionsMoved(ControlPlaneError):
    """The stored positions are not those of this writer: another took over, or the database lost some."""


class ForeignPositions(PermanentError):
    """The stored positions cannot be positions in the present topics."""


def made_anew(topic: str, stored: str | None, present: str | None) -> str:
    """The error text for stored positions in an earlier topic of the same name, given both ids."""
    return (
        f"{topic} was made anew: this database holds what was read from"
        f" {stored}, and its id is {present} now; docs/recovery.md says what to do"
    )


class RowsRefused(PermanentError):
    """PostgreSQL will not store these rows.

    Attributes:
        why: The reason, without any content of the rows.
        unclear: Whether trying again could still help.
        constraint: The name of the violated constraint or unique index, if there is one.
    """

    def __init__(self, text: str, *, why: str, unclear: bool, constraint: str | None) -> None:
        super().__init__(text)
        self.why = why
        self.unclear = unclear
        self.constraint = constraint


def explained(error: Exception) -> Exception:
    """Our error for an error of the driver; the same error if it is a bug of ours."""
    if reason := pooler_reason(error):
        return SinkUnavailable(f"{reason}: {error!r}")
    if isinstance(error, OSError):  # TimeoutError included
        return SinkUnavailable(f"the server does not answer: {error!r}")
    if isinstance(error, asyncpg.LockNotAvailableError):
        return LockHeld(f"a lock is held: {error!r}")
    if meaning := _meaning(_AWAY, error):
        return SinkUnavailable(f"{meaning}: {error!r}")
    if meaning := _meaning(_REFUSED, error) or _meaning(_UNCLEAR, error):
        unclear = _meaning(_REFUSED, error) is None
        constraint = getattr(error, "constraint_name", None)
        text = f"{meaning}: {error!r}"  # str() would add the row itself
        why = f"{meaning} (SQLSTATE {getattr(error, 'sqlstate', '')})"
        return RowsRefused(text, why=why, unclear=unclear, constraint=constraint)
    return error


def _meaning(table: Mapping[str, str], error: Exception) -> str | None:
    state: str = getattr(error, "sqlstate", None) or ""
    return table.get(state) or table.get(state[:2])
