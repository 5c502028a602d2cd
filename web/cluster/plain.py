"""The plain reads of clusters: one, its status, and a page of them (`web/http/plain.py`)."""

import re
from functools import lru_cache
from typing import Final

from yarl import URL

from web.cluster.reads import PageQuery, Reads
from web.http.plain import Plain, PlainRead

LIST: Final = "/api/v1/clusters"
ONE: Final = "/api/v1/clusters/{id}"
STATUS: Final = "/api/v1/clusters/{id}/status"

_ONE = re.compile(LIST + r"/([0-9A-Za-z-]{36})(/status)?")
_LIST = re.compile(LIST + r"(?:\?([\w.@%+=&-]{0,200}))?", re.ASCII)


MAX_QUERY: Final = 1024
"""Characters of a query whose meaning is kept; a longer one is read each time, on the ordinary way."""


def plain_reads(reads: Reads) -> tuple[PlainRead, ...]:
    """The plain reads that these answer."""

    def one(email: str, given: str, status: str | None) -> Plain | None:
        answer = reads.cluster(email, given) if status is None else reads.status(email, given)
        if not (answer.version or "").isprintable():  # which aiohttp makes no header of
            return None
        return Plain(ONE if status is None else STATUS, given.lower(), answer)

    def page(email: str, query: str | None) -> Plain | None:
        query = query or ""
        asked = _asked(query) if len(query) <= MAX_QUERY else None
        return None if asked is None else Plain(LIST, None, reads.page(email, asked))

    return PlainRead(_ONE, one), PlainRead(_LIST, page)


@lru_cache(maxsize=1024)  # who pages through a list, or shows one, asks the same over and over
def _asked(query: str) -> PageQuery | None:
    """What a raw query asks for; None when that may be no page."""
    given = URL.build(path="/", query_string=query, encoded=True).query
    return None if "watch" in given else PageQuery.of(given)
