"""What stands on every answer, whoever writes it: the request's id, and what browsers want to be told."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from domain.ids import uuid_of

REQUEST_ID_PATTERN: Final = r"[A-Za-z0-9._:-]{1,128}"

_REQUEST_ID = re.compile(REQUEST_ID_PATTERN)
_ALLOWED: Final = {
    "Access-Control-Allow-Methods": "POST, OPTIONS, GET, PUT, DELETE",
    "Access-Control-Allow-Headers": (
        "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, accept, origin,"
        " Cache-Control, X-Requested-With, X-User-Email, X-Request-ID, If-Match, Idempotency-Key"
    ),
    "Access-Control-Expose-Headers": "X-Request-ID, X-Response-Time, ETag, Location, Idempotent-Replayed",
}


def request_id(given: str) -> str:
    """The id a request came with, or a new one if that has another form."""
    return given if given and _REQUEST_ID.fullmatch(given) else new_id()


def new_id() -> str:
    """A UUID of version 4 (RFC 9562, section 5.4); `uuid4()` takes four times as long."""
    return next(_IDS)


def _ids() -> Iterator[str]:
    while True:
        drawn = os.urandom(16 * 256).hex()  # a system call for many; no process of ours is forked
        for at in range(0, len(drawn), 32):
            yield uuid_of(drawn[at : at + 32], version="4")


_IDS: Final = _ids()


def response_time(seconds: float) -> str:
    """The time an answer took, as `X-Response-Time` has it."""
    return f"{seconds * 1000:.3f}ms"


class Shared(NamedTuple):
    """Headers, and the same as the lines in which they go over the wire."""

    headers: Mapping[str, str]
    lines: str


class Cors:
    """The headers for pages of other origins (Fetch standard, section 3.3), made once for each.

    Args:
        origins: Those that are allowed, or `*` among them for any, which then come without credentials.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        if "*" in origins:
            self._listed: Mapping[str, Shared] = {}
            self._others = _shared({"Access-Control-Allow-Origin": "*"})
        else:
            self._others = _shared({"Vary": "Origin"})
            self._listed = {origin: _shared(_to(origin)) for origin in origins}

    def for_(self, origin: str) -> Shared:
        """For a request from this origin; empty when it has none."""
        return self._listed.get(origin, self._others)


def _to(origin: str) -> dict[str, str]:
    return {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
    }


def _shared(headers: dict[str, str]) -> Shared:
    headers = {**headers, **_ALLOWED}
    return Shared(headers, "".join(f"{name}: {value}\r\n" for name, value in headers.items()))
