"""Plain reads: the GETs that most of the traffic is, found before any route is looked up.

aiohttp's router, response and headers cost three times what reading the view does. So a request that wants
nothing special and will succeed is told apart here by its path, and `web/http/edge.py` writes its answer in
one piece. What is not so, or refused, is nobody's fault and goes the ordinary way, which gives the same
answer to all that is told apart here, and the only one to the rest.
"""

import re
from functools import lru_cache
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.hdrs import EXPECT, HOST, ORIGIN
from msgspec import Struct
from yarl import URL

from domain.hosts import Hosts
from web.http.headers import once
from web.http.identity import address
from web.reads import PageQuery, ReadAnswer, Reads
from web.settings import WebSettings

LIST: Final = "/api/v1/clusters"
ONE: Final = "/api/v1/clusters/{id}"
STATUS: Final = "/api/v1/clusters/{id}/status"

_ONE = re.compile(LIST + r"/([0-9A-Za-z-]{36})(/status)?")
_LIST = re.compile(LIST + r"(?:\?([\w.@%+=&-]{0,200}))?", re.ASCII)


MAX_QUERY: Final = 1024
"""Characters of a query whose meaning is kept; a longer one is read each time, on the ordinary way."""


class Plain(Struct, frozen=True, gc=False):
    """A read that succeeds: its route's pattern, the cluster it is of if it is of one, and the answer."""

    route: str
    cluster_id: str | None
    answer: ReadAnswer


class PlainReads:
    """Tells plain reads apart."""

    def __init__(self, reads: Reads, hosts: Hosts, settings: WebSettings) -> None:
        self._reads = reads
        self._hosts = hosts
        self._settings = settings

    def find(self, request: web.Request) -> Plain | None:
        """The answer to a plain read; None for all that takes the ordinary way."""
        if (
            request.method != "GET"
            or request.version != HttpVersion11
            or not request.keep_alive
            or request.body_exists
            or EXPECT in request.headers
            or not self._hosts.admits(request.headers.get(HOST))
        ):
            return None
        path = request.raw_path
        one = _ONE.fullmatch(path)
        listed = _LIST.fullmatch(path) if one is None else None
        if one is None and listed is None:
            return None
        try:
            email = address(request.headers, self._settings)
            if ORIGIN in request.headers:
                once(request.headers, ORIGIN)
            if one is not None:
                return self._one(email, *one.groups())
            assert listed is not None
            return self._list(email, listed[1] or "")
        except Exception:  # whatever it is, the ordinary way comes across it too, and tells of it
            return None

    def _one(self, email: str, given: str, status: str | None) -> Plain | None:
        read = self._reads.cluster if status is None else self._reads.status
        answer = read(email, given)
        if not (answer.resource_version or "").isprintable():  # which aiohttp makes no header of
            return None
        return Plain(ONE if status is None else STATUS, given.lower(), answer)

    def _list(self, email: str, query: str) -> Plain | None:
        asked = _asked(query) if len(query) <= MAX_QUERY else None
        return None if asked is None else Plain(LIST, None, self._reads.page(email, asked))


@lru_cache(maxsize=1024)  # who pages through a list, or shows one, asks the same over and over
def _asked(query: str) -> PageQuery | None:
    """What a raw query asks for; None when that may be no page."""
    given = URL.build(path="/", query_string=query, encoded=True).query
    return None if "watch" in given else PageQuery.of(given)
