"""What handlers of any kind ask of a request, and how they answer what was read or repeated."""

import re
from typing import Final

from aiohttp import web

from domain.errors import invalid
from serving.ids import keyed_id, new_id
from serving.submit import WriteResult
from web.http.errors import JSON_TYPE
from web.http.headers import once, once_as_text
from web.http.ids import id_of
from web.http.pieces import Pieces, ReadAnswer

KEY: Final = "Idempotency-Key"
MAX_KEY: Final = 255

_ETAG = re.compile(r'"([^"]*)"')


def path_id(request: web.Request, kind: str) -> str:
    """The id of an entity of this kind in the path, lower case. Raises: Rejected: it is not a UUID."""
    return id_of(request.match_info["id"], kind)


def command_identity(
    request: web.Request, email: str, *operation: str, longest: int = MAX_KEY
) -> tuple[str, bool]:
    """The command's id and whether an `Idempotency-Key` has made it.

    Raises: Rejected: the key is empty, longer than it may be, not printable, or there are two.
    """
    key = once(request.headers, KEY)
    if key is None:
        return new_id(), False
    if not 1 <= len(key) <= longest or not key.isprintable():
        raise invalid(f"{KEY} must be 1 to {longest} printable characters", field=KEY)
    return keyed_id(email, *operation, key=key), True


def if_match(request: web.Request) -> str | None:
    """The version that a write builds on, by `If-Match`; None for any.

    Raises: Rejected: it is neither one quoted ETag nor `*`, or there are two.
    """
    header = once_as_text(request.headers, "If-Match")
    if header is None or header == "*":
        return None
    match = _ETAG.fullmatch(header)
    if match is None:
        raise invalid('If-Match must be one quoted ETag or "*"', field="If-Match", value=header)
    return match[1]


def etag(version: str) -> str:
    """A version as the header `ETag` has it."""
    return f'"{version}"'


def replayed(result: WriteResult) -> dict[str, str]:
    """The header that tells a repeat's answer from a first one."""
    return {"Idempotent-Replayed": "true"} if result.outcome == "duplicate" else {}


def shown(answer: ReadAnswer) -> web.Response:
    """What was read, as a response."""
    headers = {"Content-Type": JSON_TYPE}
    if answer.version is not None:
        headers["ETag"] = etag(answer.version)
    if answer.secret:
        headers["Cache-Control"] = "no-store"
    return web.Response(body=Pieces(answer.pieces), headers=headers)
