"""How fast something may be done: a token bucket, and the id it has (operations contract, section 3)."""

import re
from hashlib import blake2b
from math import ceil
from typing import Final, NamedTuple

from domain.entity import ENTITY_ID

EVERYBODY: Final = "global"
"""The scope of a bucket that all callers share."""

MAX_SCOPE_ID: Final = 128
MAX_NUMBER: Final = 1e9
"""Tokens of a capacity, and tokens a second."""

_ID: Final = re.compile(ENTITY_ID)


class Rate(NamedTuple):
    """What a bucket holds at most, and how many tokens a second come back; 0 for none."""

    capacity: float
    refill_rate: float


class Taken(NamedTuple):
    """Whether a token was there, and how many are left."""

    allowed: bool
    tokens: float


def refilled(tokens: float, seconds: float, rate: Rate) -> float:
    """The tokens of a bucket after some time; a clock that went back takes none away.

    A capacity that has become smaller counts at once.
    """
    return min(rate.capacity, tokens + max(0.0, seconds) * rate.refill_rate)


def take(tokens: float, wanted: float = 1.0) -> Taken:
    """Take tokens, or none if there are fewer."""
    return Taken(True, tokens - wanted) if tokens >= wanted else Taken(False, tokens)


def full_after(tokens: float, rate: Rate) -> float | None:
    """Seconds until a bucket is full again; None for never."""
    if tokens >= rate.capacity:
        return 0.0
    return (rate.capacity - tokens) / rate.refill_rate if rate.refill_rate > 0 else None


def retry_after(tokens: float, rate: Rate) -> int | None:
    """Whole seconds, at least one, until there is a token again; None for never."""
    if rate.refill_rate <= 0 or rate.capacity < 1:
        return None
    return max(1, ceil((1 - tokens) / rate.refill_rate))


def key_of(name: str, scope: str) -> str:
    """The id of what is kept for a limit in a scope.

    Scopes name users in any characters. One that no id can hold is replaced by its digest, behind a character
    that no other id has there.
    """
    plain = f"{name}:{scope}"
    kind, _, rest = scope.partition(":")
    if _ID.fullmatch(plain) and not rest.startswith("~"):
        return plain
    return f"{name}:{kind}:~{blake2b(rest.encode(), digest_size=16).hexdigest()}"
