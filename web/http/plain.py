"""Plain reads: the GETs that most of the traffic is, found before any route is looked up.

aiohttp's router, response and headers cost three times as much as reading a view. So an ordinary GET that
will succeed is recognised here by its path, and `web/http/edge.py` writes its answer in one piece. Each kind
declares these paths and the functions that answer them (`PlainRead`). Every other request is handled by the
application, which gives the same answers to the requests recognised here, and the only answers to all others.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from aiohttp import HttpVersion11, web
from aiohttp.hdrs import EXPECT, HOST, ORIGIN
from msgspec import Struct

from domain.hosts import Hosts
from web.http.headers import once
from web.http.identity import address
from web.http.pieces import ReadAnswer
from web.settings import WebSettings


class Plain(Struct, frozen=True, gc=False):
    """A read that succeeds.

    Attributes:
        route: Its route's pattern.
        entity_id: The id of the entity it shows, if it shows one.
        kind: The kind of the route (`web.described.operations.Route`).
    """

    route: str
    entity_id: str | None
    answer: ReadAnswer
    kind: str | None = None


class PlainRead(NamedTuple):
    """A pattern of plain reads.

    Attributes:
        path: Matches the whole raw path with its query.
        read: Answers the caller of this address, given the groups of the match. It may return None or raise
            any error to leave the request to the application.
    """

    path: re.Pattern[str]
    read: Callable[..., Plain | None]


PLAIN: Final = web.AppKey("plain", tuple[PlainRead, ...])


class PlainReads:
    """Recognises plain reads."""

    def __init__(self, forms: tuple[PlainRead, ...], hosts: Hosts, settings: WebSettings) -> None:
        self._forms = forms
        self._hosts = hosts
        self._settings = settings

    def find(self, request: web.Request) -> Plain | None:
        """The answer to a plain read; None for every other request."""
        if (
            request.method != "GET"
            or request.version != HttpVersion11
            or not request.keep_alive
            or request.body_exists
            or EXPECT in request.headers
            or not self._hosts.admits(request.headers.get(HOST))
        ):
            return None
        raw_path = request.raw_path
        for path, read in self._forms:
            if match := path.fullmatch(raw_path):
                try:
                    email = address(request.headers, self._settings)
                    if ORIGIN in request.headers:
                        once(request.headers, ORIGIN)
                    return read(email, *match.groups())
                except Exception:  # whatever it is, the application meets it too, and answers it
                    return None
        return None
