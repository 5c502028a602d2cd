"""The rules of limits: how fast callers may do something, as operators have configured it.

What is not configured for a scope follows from what is configured for all, and that from the settings
(operations contract, section 3.3).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from domain.entity import Command, Kind, VersionedEntity
from domain.errors import Rejected, invalid
from domain.rates import EVERYBODY, MAX_NUMBER, MAX_SCOPE_ID, key_of
from domain.values import Meta, Struct, replace

Name = Annotated[str, Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9._-]+$")]
Scope = Annotated[
    str, Meta(min_length=1, max_length=160, description="`global`, `user:<id>` or `cluster:<id>`")
]
Capacity = Annotated[float, Meta(gt=0, le=MAX_NUMBER)]
RefillRate = Annotated[float, Meta(ge=0, le=MAX_NUMBER)]


class Limit(Struct, frozen=True, kw_only=True):
    """What is configured for a limit in a scope.

    Attributes:
        id: Of its name and scope.
        capacity: Tokens that a bucket holds; None if the next wider configuration decides.
        refill_rate: Tokens a second; None likewise.
    """

    id: str
    name: str
    scope: str
    capacity: float | None
    refill_rate: float | None
    created_at: datetime
    updated_at: datetime


class LimitState(VersionedEntity, frozen=True, kw_only=True):
    """The state of one configured limit."""

    limit: Limit


class Configure(Command, frozen=True, kw_only=True, tag="limit.configure"):
    """Configure a limit in a scope; what is absent stays as it is."""

    name: Name
    scope: Scope
    capacity: Capacity | None = None
    refill_rate: RefillRate | None = None


class Delete(Command, frozen=True, kw_only=True, tag="limit.delete"):
    """Configure nothing for it any more; that there is nothing is no fault."""


Commands = Configure | Delete


class Changed(Struct, frozen=True, kw_only=True):
    """A limit was configured, or is not any more."""

    how: Literal["configured", "deleted"]
    limit: Limit
    at: datetime


def check(command: Configure) -> None:
    """Refuse what cannot be configured, whatever is. Raises: Rejected."""
    kind, colon, id = command.scope.partition(":")
    if command.scope != EVERYBODY and not (kind in ("user", "cluster") and colon):
        raise invalid("scope must be global, user:<id> or cluster:<id>", field="scope", value=command.scope)
    if colon and not is_scope_id(id):
        text = f"the id of a scope has 1 to {MAX_SCOPE_ID} characters, none of them a control character"
        raise invalid(text, field="scope_id")
    if command.capacity is None and command.refill_rate is None:
        raise invalid("capacity or refill_rate is required", field="capacity")
    if command.id != key_of(command.name, command.scope):
        raise invalid("the id must be that of the name and the scope", field="id")


def is_scope_id(id: str) -> bool:
    """Whether a user or a cluster can be called so where limits are concerned."""
    return 0 < len(id) <= MAX_SCOPE_ID and not any(ord(each) < 32 or ord(each) == 127 for each in id)


def decide(state: LimitState | None, command: Commands, at: datetime) -> Sequence[Changed]:
    """The events that a command leads to. Raises: Rejected."""
    live = None if state is None or state.deleted_at is not None else state
    if live is not None and command.expected_version not in (None, live.version):
        raise Rejected("VERSION_MISMATCH", "The limit was configured otherwise meanwhile")
    if isinstance(command, Delete):
        return () if live is None else (Changed(how="deleted", limit=live.limit, at=at),)
    check(command)
    before = None if live is None else live.limit
    limit = Limit(
        id=command.id,
        name=command.name,
        scope=command.scope,
        capacity=_first(command.capacity, None if before is None else before.capacity),
        refill_rate=_first(command.refill_rate, None if before is None else before.refill_rate),
        created_at=at if before is None else before.created_at,
        updated_at=at if before is None else max(at, before.updated_at + timedelta(microseconds=1)),
    )
    return (Changed(how="configured", limit=limit, at=at),)


def _first(given: float | None, before: float | None) -> float | None:
    return before if given is None else given


def evolve(state: LimitState | None, event: Changed) -> LimitState:
    """The state after an event."""
    state = state or LimitState(revision=0, limit=event.limit)
    return replace(state, limit=event.limit, deleted_at=event.at if event.how == "deleted" else None)


LIMIT: Final = Kind(name="limit", state=LimitState, decide=decide, evolve=evolve)
