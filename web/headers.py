"""What stands on every answer, whoever writes it: the request's id, and what browsers want to be told."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

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
    """A UUID of version 4 (RFC 9562, section 5.4); `uuid4()` takes eight times as long."""
    return next(_IDS)


def _ids() -> Iterator[str]:
    """Many are drawn and written at a time, digit by digit of all of them; no process of ours is forked."""
    text = bytearray(b"-" * (36 * _DRAWN))
    while True:
        drawn = int.from_bytes(os.urandom(16 * _DRAWN)) & _FREE | _GIVEN
        digits = drawn.to_bytes(16 * _DRAWN).hex().encode()
        for at, place in enumerate(_PLACES):
            text[place::36] = digits[at::32]
        written = text.decode()
        for at in range(0, len(written), 36):
            yield written[at : at + 36]


_DRAWN: Final = 256
_PLACES: Final = [place for place in range(36) if place not in (8, 13, 18, 23)]

# The bits that are drawn, and those that tell version and variant.
_FREE: Final = int("ffffffffffff0fff3fffffffffffffff" * _DRAWN, 16)
_GIVEN: Final = int("00000000000040008000000000000000" * _DRAWN, 16)


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
