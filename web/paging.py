"""Pages of lists by cursor: how many, from where, and what fits."""

import re
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from domain.errors import Rejected
from serving.paging import place_after
from tables.entries import KindEntry
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


def place_of(request: web.Request) -> SortKey:
    """Where the page begins. Raises: Rejected: the cursor is none of ours."""
    given = request.query.get("cursor")
    if given is None:
        return BEFORE_ALL
    try:
        return place_after(given)
    except ValueError:
        raise Rejected("INVALID_PARAMETER", "cursor is not one of ours", field="cursor") from None


def fitting(entries: Sequence[KindEntry], most: int) -> Sequence[KindEntry]:
    """The first entries whose documents fit into that many bytes, or the first alone."""
    length = 0
    for number, entry in enumerate(entries):
        length += len(entry.document) + 1
        if length > most and number:
            return entries[:number]
    return entries
