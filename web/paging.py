"""Pages of lists by cursor: how many, from where, and what fits."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from aiohttp import web

from domain.errors import Rejected
from serving.paging import place_after
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


def fitting(documents: Iterable[bytes], most: int) -> Sequence[bytes]:
    """The first documents that fit into that many bytes, or the first alone; no others are made."""
    page, length = list[bytes](), 0
    for document in documents:
        length += len(document) + 1
        if length > most and page:
            break
        page.append(document)
    return page
