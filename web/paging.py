"""Pages of lists by cursor: how many, from where, and what fits."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from domain.entity import EntityId
from domain.errors import Rejected
from tables.entries import KindEntry, newest_first
from tables.view import BEFORE_ALL, SortKey
from web.described.kind_parameters import MAX_LIMIT

_LIMIT: Final = re.compile(r"[0-9]{1,3}")


def limit_of(request: web.Request) -> int:
    """How many entities a page may hold. Raises: Rejected: `INVALID_PARAMETER`."""
    given = request.query.get("limit")
    if given is None:
        return MAX_LIMIT
    if _LIMIT.fullmatch(given) is None or not 1 <= int(given) <= MAX_LIMIT:
        raise Rejected("INVALID_PARAMETER", f"limit must be 1 to {MAX_LIMIT}", field="limit")
    return int(given)


class _Cursor(Struct, frozen=True, array_like=True):
    """The place of the last entity of a page."""

    created_at: Annotated[datetime, Meta(tz=True)]
    id: EntityId


_cursor_decoder: Final = msgspec.json.Decoder(_Cursor)


def cursor_after(last: KindEntry) -> str:
    """The cursor of the page that follows this entity."""
    created_at = datetime.fromtimestamp(-last.place[0], UTC)
    return msgspec.json.encode(_Cursor(created_at, last.id)).hex()


def place_of(request: web.Request) -> SortKey:
    """Where the page begins. Raises: Rejected: the cursor is none of ours."""
    given = request.query.get("cursor")
    if given is None:
        return BEFORE_ALL
    try:
        cursor = _cursor_decoder.decode(bytes.fromhex(given))
        return newest_first(cursor.created_at, cursor.id)
    except (ValueError, OverflowError, msgspec.MsgspecError):
        raise Rejected("INVALID_PARAMETER", "cursor is not one of ours", field="cursor") from None


def fitting(entries: Sequence[KindEntry], most: int) -> Sequence[KindEntry]:
    """The first entries whose documents fit into that many bytes, or the first alone."""
    length = 0
    for number, entry in enumerate(entries):
        length += len(entry.document) + 1
        if length > most and number:
            return entries[:number]
    return entries
