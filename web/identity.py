"""Who is asking: the address a trusted gateway puts into `X-User-Email`."""

from aiohttp import web

from domain.access import valid_email
from domain.errors import Rejected
from web.keys import SETTINGS


def caller(request: web.Request) -> str:
    """The caller's address.

    Raises: Rejected: `AUTH_REQUIRED` without one, `INVALID_EMAIL` for a malformed one.
    """
    settings = request.app[SETTINGS]
    email = request.headers.get("X-User-Email", "").strip()
    if valid_email(email):
        return email
    if settings.disable_auth:
        return f"controller@{settings.policy.privileged_domain}"
    if not email:
        raise Rejected("AUTH_REQUIRED", "Authentication required")
    raise Rejected("INVALID_EMAIL", "Invalid user email format")
