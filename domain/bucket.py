"""The rules of buckets: each says whether something may be done now (operations contract, section 3.1).

A bucket that nobody uses is forgotten once it is full again, since a new one is full as well.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from domain.entity import Command, Kind, VersionedEntity
from domain.rates import MAX_NUMBER, Rate, full_after, refilled, take
from domain.values import Meta, Struct, replace

LONGEST: Final = timedelta(days=3650)
"""A bucket that takes longer to be full again is kept for good."""

Scope = Annotated[str, Meta(min_length=1, max_length=160)]


class Bucket(Struct, frozen=True, kw_only=True):
    """The tokens of one limit in one scope.

    Attributes:
        scope: `global`, `user:<id>` or `cluster:<id>`.
        tokens: How many were left at `updated_at`.
        capacity, refill_rate: How many it holds, and gets a second, by the last command.
        granted: Whether the last command got a token.
        allowed, denied: How many got one, and how many did not, since it was full.
    """

    id: str
    name: str
    scope: str
    tokens: float
    capacity: float
    refill_rate: float
    granted: bool
    allowed: int
    denied: int
    created_at: datetime
    updated_at: datetime


class BucketState(VersionedEntity, frozen=True, kw_only=True):
    """The state of one bucket."""

    bucket: Bucket


class Take(Command, frozen=True, kw_only=True, tag="bucket.take"):
    """Take a token, if there is one.

    Attributes:
        capacity, refill_rate: As they are configured now.
    """

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    scope: Scope
    capacity: Annotated[float, Meta(gt=0, le=MAX_NUMBER)]
    refill_rate: Annotated[float, Meta(ge=0, le=MAX_NUMBER)]


Commands = Take


class Changed(Struct, frozen=True, kw_only=True):
    """Somebody has asked for a token, or the bucket is full again."""

    how: Literal["asked", "filled"]
    bucket: Bucket
    at: datetime


def decide(state: BucketState | None, command: Commands, at: datetime) -> Sequence[Changed]:
    """Decide whether there is a token. A command that gets none is not refused, but told so by the state."""
    live = None if state is None or state.deleted_at is not None else state.bucket
    rate = Rate(command.capacity, command.refill_rate)
    elapsed = 0.0 if live is None else (at - live.updated_at).total_seconds()
    before = rate.capacity if live is None else refilled(live.tokens, elapsed, rate)
    taken = take(before)
    bucket = Bucket(
        id=command.id,
        name=command.name,
        scope=command.scope,
        tokens=taken.tokens,
        capacity=rate.capacity,
        refill_rate=rate.refill_rate,
        granted=taken.allowed,
        allowed=(0 if live is None else live.allowed) + taken.allowed,
        denied=(0 if live is None else live.denied) + (not taken.allowed),
        created_at=at if live is None else live.created_at,
        updated_at=at if live is None else max(at, live.updated_at),
    )
    return (Changed(how="asked", bucket=bucket, at=at),)


def evolve(state: BucketState | None, event: Changed) -> BucketState:
    """The state after an event."""
    state = state or BucketState(revision=0, bucket=event.bucket)
    return replace(state, bucket=event.bucket, deleted_at=event.at if event.how == "filled" else None)


def wake_at(state: BucketState) -> datetime | None:
    """When it is full again."""
    bucket = state.bucket
    seconds = full_after(bucket.tokens, Rate(bucket.capacity, bucket.refill_rate))
    if seconds is None or seconds > LONGEST.total_seconds():
        return None
    return bucket.updated_at + timedelta(seconds=seconds)


def wake(state: BucketState, at: datetime) -> Sequence[Changed]:
    """It is full again, and need not be remembered."""
    full = replace(state.bucket, tokens=state.bucket.capacity, updated_at=at)
    return (Changed(how="filled", bucket=full, at=at),)


BUCKET: Final = Kind(
    name="bucket",
    state=BucketState,
    decide=decide,
    evolve=evolve,
    wake_at=wake_at,
    wake=wake,
    remembers=False,
    retention=timedelta(minutes=1),
)
