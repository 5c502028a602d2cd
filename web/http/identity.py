"""The identity of a caller: the address that a trusted gateway puts into `X-User-Email`."""

from typing import Final

from aiohttp import web
from multidict import MultiMapping, istr

from domain.access import valid_email
from domain.errors import Rejected
from web.http.headers import once
from web.keys import SETTINGS
from web.settings import WebSettings

_EMAIL: Final = istr("X-User-Email")
_NEEDED: Final = {
    "field": str(_EMAIL),
    "expected": "one address such as name@example.com, of at most 254 characters and without blanks",
}


def caller(request: web.Request) -> str:
    """The caller's address. Raises: Rejected: as `address` does."""
    return address(request.headers, request.app[SETTINGS])


def address(headers: MultiMapping[str], settings: WebSettings) -> str:
    """The address in a request's headers.

    Raises: Rejected: `AUTH_REQUIRED` without one, `INVALID_EMAIL` for a malformed one, `VALIDATION_FAILED`
        for two, because the gateway's could be either.
    """
    email = once(headers, _EMAIL) or ""
    if valid_email(email):
        return email
    if settings.disable_auth:
        return f"controller@{settings.policy.privileged_domain}"
    if not email:
        raise Rejected("AUTH_REQUIRED", "Authentication required", **_NEEDED)
    raise Rejected("INVALID_EMAIL", "Invalid user email format", **_NEEDED)
