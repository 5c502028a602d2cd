"""The ids of requests and of the commands that they become."""

import os
import re
from collections.abc import Iterator
from typing import Final

from domain.ids import deterministic_id

REQUEST_ID_PATTERN: Final = r"[A-Za-z0-9._:-]{1,128}"

_REQUEST_ID = re.compile(REQUEST_ID_PATTERN)


def keyed_id(email: str, *operation: str, key: str) -> str:
    """The id of a command that came under an `Idempotency-Key`.

    The same key of the same caller for the same operation makes the same id, whichever API it comes by. So a
    retry is a repeat, and gets the first outcome.
    """
    return deterministic_id("idempotency", email, *operation, key)


def request_id(given: str) -> str:
    """The id that a request came with, or a new one if that is malformed."""
    return given if given and _REQUEST_ID.fullmatch(given) else new_id()


def new_id() -> str:
    """A UUID of version 4 (RFC 9562, section 5.4); `uuid4()` takes eight times as long."""
    return next(_IDS)


def _ids() -> Iterator[str]:
    """Yield ids, many of which are drawn and formatted at a time. Our processes never fork."""
    text = bytearray(b"-" * (36 * _IDS_AT_A_TIME))
    while True:
        drawn = int.from_bytes(os.urandom(16 * _IDS_AT_A_TIME)) & _FREE | _GIVEN
        digits = drawn.to_bytes(16 * _IDS_AT_A_TIME).hex().encode()
        for at, place in enumerate(_PLACES):
            text[place::36] = digits[at::32]
        written = text.decode()
        for at in range(0, len(written), 36):
            yield written[at : at + 36]


_IDS_AT_A_TIME: Final = 256
_PLACES: Final = [place for place in range(36) if place not in (8, 13, 18, 23)]

# The random bits, and the bits of version and variant.
_FREE: Final = int("ffffffffffff0fff3fffffffffffffff" * _IDS_AT_A_TIME, 16)
_GIVEN: Final = int("00000000000040008000000000000000" * _IDS_AT_A_TIME, 16)


_IDS: Final = _ids()
