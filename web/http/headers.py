"""The headers of requests, as far as they can be believed, and the headers of every answer.

A header with an effect must occur once: if there are two, the first may be the client's and the second the
one that a gateway added. Bytes that are no UTF-8 arrive as lone surrogates, which cannot be encoded again.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from aiohttp import web
from aiohttp.hdrs import ORIGIN
from multidict import MultiMapping

from domain.errors import Rejected, invalid

_ALLOWED: Final = {
    "Access-Control-Allow-Methods": "POST, OPTIONS, GET, PUT, DELETE",
    "Access-Control-Allow-Headers": (
        "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, accept, origin,"
        " Cache-Control, X-Requested-With, X-User-Email, X-User-ID, X-Request-ID, X-Trace-ID, If-Match,"
        " Idempotency-Key"
    ),
    "Access-Control-Expose-Headers": (
        "X-Request-ID, X-Response-Time, X-Trace-ID, ETag, Location, Idempotent-Replayed, Retry-After,"
        " X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset"
    ),
}


TRACE_ID: Final = "X-Trace-ID"
"""The trace of a request as a UUID, which clients of operators may name."""

BY_CALLER: Final = "X-User-Email"
"""The header on which nearly all answers depend, even a 404, so no cache may serve one to another caller.
It is in every answer's `Vary`, because distinguishing the few others would cost more than it saves.
"""

_BY_ORIGIN: Final = f"Origin, {BY_CALLER}"

BLANKS: Final = " \t"
"""The blanks that HTTP trims off a header's value (RFC 9110, section 5.5); others are part of it."""


def once(headers: MultiMapping[str], name: str) -> str | None:
    """The trimmed value of a header; None if it is absent.

    Raises: Rejected: `VALIDATION_FAILED`, it occurs more than once.
    """
    given = headers.getall(name, None)
    if given is None:
        return None
    if len(given) > 1:
        raise invalid(f"{name} must be sent once", field=str(name))
    value: str = given[0]
    return value.strip(BLANKS)


def once_as_text(headers: MultiMapping[str], name: str) -> str | None:
    """The trimmed value of a header, checked to be encodable because it is copied elsewhere.

    Raises: Rejected: `VALIDATION_FAILED`, it occurs more than once, or is no UTF-8.
    """
    value = once(headers, name)
    if value is not None and encodable(value) != value:
        raise invalid(f"{name} must be UTF-8", field=str(name))
    return value


def encodable(given: str) -> str:
    """Text of a request, with a question mark for each byte that is no UTF-8."""
    return given if given.isascii() else given.encode(errors="replace").decode()


def response_time(seconds: float) -> str:
    """The duration of an answer in the format of `X-Response-Time`."""
    return f"{seconds * 1000:.3f}ms"


class Shared(NamedTuple):
    """Headers, and the same headers as lines on the wire."""

    headers: Mapping[str, str]
    lines: str


class Cors:
    """The headers for pages of other origins (Fetch standard, section 3.3), made once for each origin.

    A page of an origin that is not allowed gets none of them, so its browser blocks further requests.

    Args:
        origins: The allowed origins; `*` among them allows any, without credentials.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._any = "*" in origins
        self._listed: Mapping[str, Shared] = {}
        if self._any:
            self._others = _shared({"Access-Control-Allow-Origin": "*", **_ALLOWED})
        else:
            self._listed = {origin: _shared({**_to(origin), **_ALLOWED}) for origin in origins}
            self._others = _shared({"Vary": _BY_ORIGIN} if origins else {})

    def for_(self, headers: MultiMapping[str]) -> Shared:
        """The headers of the answer to a request with these headers; two origins count as none."""
        given = headers.getall(ORIGIN, ())
        return self._listed.get(given[0], self._others) if len(given) == 1 else self._others

    def require(self, origin: str, host: str | None) -> None:
        """Refuse a write of a page that is neither of an allowed origin nor of this host.

        Browsers send some writes without a preflight request, and only hide the answer from the page.

        Raises: Rejected: `FORBIDDEN`.
        """
        own = host is not None and origin.partition("://")[2] == host.lower()
        if not (self._any or own or origin in self._listed):
            raise Rejected(
                "FORBIDDEN",
                "Pages of this origin may not write here; if they are to, CORS_ALLOWED_ORIGINS must name it",
                field="Origin",
            )


CORS: Final = web.AppKey("cors", Cors)


def _to(origin: str) -> dict[str, str]:
    return {
        "Vary": _BY_ORIGIN,
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Credentials": "true",
    }


def _shared(headers: Mapping[str, str]) -> Shared:
    headers = {"Vary": BY_CALLER, **headers}
    return Shared(headers, "".join(f"{name}: {value}\r\n" for name, value in headers.items()))
