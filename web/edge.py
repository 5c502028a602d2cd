"""What every request goes through: id, answer or error in the one shape, bounds, and what is told of it.

    Edge ──▶ plain read? ──────────────────────────────────────▶ written in one piece
      └────▶ aiohttp's application: route, handler ──▶ errors ──┘
                                                           └────▶ HEAD, streams, …: written by aiohttp

It stands around the application and not in it as middlewares: those come after the router and cost more than
most reads do. What aiohttp does to write a small answer costs as much again, so what is nothing special is
written here, headers in the same order.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from email.utils import formatdate
from functools import lru_cache
from typing import Final

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.hdrs import HOST, ORIGIN
from aiohttp.http import SERVER_SOFTWARE
from multidict import CIMultiDict, MultiMapping, istr

from domain.errors import Rejected, TransientError, invalid
from domain.hosts import Hosts
from web.errors import (
    JSON_TYPE,
    error_response,
    http_error_response,
    rejection_response,
    unavailable_response,
)
from web.headers import Cors, new_id, once, request_id, response_time
from web.keys import CORS, SEEN, Seen
from web.plain import Plain, PlainReads
from web.telling import UNMATCHED, route_of, tell, tell_of

log = logging.getLogger("clusterflow.api_server")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Written(web.StreamResponse):
    """Stands for an answer that is out; aiohttp only asks whether the connection goes on."""

    keep_alive = True

    async def prepare(self, request: web.BaseRequest) -> None:
        """It is."""

    async def write_eof(self, data: bytes = b"") -> None:
        """It is."""


class LastWritten(_Written):
    """Stands for the last answer on its connection."""

    keep_alive = False


WRITTEN: Final = _Written()
LAST_WRITTEN: Final = LastWritten()


class Edge:
    """Takes requests from aiohttp's server.

    Args:
        ordinary: The application.
    """

    def __init__(
        self, plain: PlainReads, ordinary: Handler, hosts: Hosts, cors: Cors, *, write_timeout: timedelta
    ) -> None:
        self._plain = plain
        self._hosts = hosts
        self._ordinary = ordinary
        self._cors = cors
        self._write_timeout = write_timeout.total_seconds()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer it."""
        started = time.perf_counter()
        given = request_id(request.headers.get(_REQUEST_ID, ""))
        plain = self._plain.find(request)
        if plain is not None and _is_open(request):
            return await self._written(request, given, self._told(request, plain, given, started))
        try:
            self._require_ours(request)
        except Rejected as refusal:
            return self.refuse(request, refusal, started=started, given=given)
        request[SEEN] = seen = Seen(given, started)
        response = await self._answer(request, given)
        seconds = (seen.answered or time.perf_counter()) - started  # of a watch, to its beginning
        tell(request, status=response.status, seconds=seconds)
        if response.prepared:  # it is a stream, which has bounds of its own
            return response
        if (body := usual_body(request, response)) is not None:
            return await self._written(request, given, self._usual(request, given, response, body, seconds))
        await self._bounded(request, given, _sent(response, request))
        return response

    def _require_ours(self, request: web.Request) -> None:
        """Refuse what is no HTTP, meant for somebody else, or a write of somebody else's page."""
        if request.version not in (HttpVersion11, HttpVersion10):
            raise invalid(NO_HTTP, field="request")
        host = once(request.headers, HOST)
        self._hosts.require(host)
        if not request.raw_path.startswith(("/", "*")):  # it names a host itself, which goes before `Host`
            self._hosts.require(request.url.host_subcomponent)
        origin = once(request.headers, ORIGIN)
        if origin is not None and request.method not in SAFE:
            self._cors.require(origin, host)

    def refuse(
        self, request: web.BaseRequest, refusal: Rejected, *, started: float, given: str | None = None
    ) -> web.StreamResponse:
        """Answer what gets to no route, and let its connection end."""
        given = given or new_id()
        response = rejection_response(refusal, request_id=given)
        assert isinstance(response.body, bytes)
        seconds = time.perf_counter() - started
        tell_of(
            request,
            route=UNMATCHED,
            status=response.status,
            seconds=seconds,
            request_id=given,
            cluster_id=None,
            body_size=0,
        )
        begun = f"{_begun(response)}Connection: close\r\n"
        head = self._head(NO_HEADERS, given, begun, len(response.body), seconds)
        if request.transport is not None:  # a client that sends no HTTP often leaves without an answer
            request.transport.write(head if request.method == "HEAD" else head + response.body)
        return LAST_WRITTEN

    def _told(self, request: web.Request, plain: Plain, given: str, started: float) -> bytes:
        """Tell of a plain read; returns its answer as it goes over the wire."""
        pieces, version = plain.answer.pieces, plain.answer.resource_version
        seconds = time.perf_counter() - started
        tell_of(
            request,
            route=plain.route,
            status=200,
            seconds=seconds,
            request_id=given,
            cluster_id=plain.cluster_id,
            body_size=0,
        )
        etag = "" if version is None else f'ETag: "{version}"\r\n'
        head = self._head(request.headers, given, f"{_BEGUN}{etag}", sum(map(len, pieces)), seconds)
        return b"".join((head, *pieces))

    def _usual(
        self, request: web.Request, given: str, response: web.StreamResponse, body: bytes, seconds: float
    ) -> bytes:
        """A usual answer as it goes over the wire."""
        return self._head(request.headers, given, _begun(response), len(body), seconds) + body

    def _head(self, asked: MultiMapping[str], given: str, begun: str, length: int, seconds: float) -> bytes:
        """The head of an answer to a request of these headers, begun with its status and its own."""
        return (
            f"{begun}Content-Length: {length}\r\n{_dated(int(time.time()))}"
            f"X-Request-ID: {given}\r\nX-Response-Time: {response_time(seconds)}\r\n"
            f"{self._cors.for_(asked).lines}\r\n"
        ).encode()

    async def _written(self, request: web.Request, given: str, whole: bytes) -> web.StreamResponse:
        """Write an answer in one piece."""
        assert request.transport is not None
        request.transport.write(whole)
        if request.protocol.writing_paused:
            await self._bounded(request, given, request.writer.drain())
        return WRITTEN

    async def _answer(self, request: web.Request, given: str) -> web.StreamResponse:
        """Turn every exception into the one error shape; what nobody expected is logged and says nothing."""
        try:
            return await self._routed(request)
        except Rejected as refusal:
            return rejection_response(refusal, request_id=given)
        except TransientError as error:
            return unavailable_response(error, request_id=given)
        except web.HTTPException as error:
            if request.method == "OPTIONS":  # which no route has, and browsers ask of all before they call
                return web.Response(status=204)
            return http_error_response(error, request_id=given)
        except Exception:
            log.exception("request failed", extra={"request_id": given, "route": route_of(request)})
            return error_response(500, "INTERNAL_ERROR", "Internal error", request_id=given)

    async def _routed(self, request: web.Request) -> web.StreamResponse:
        """Let the application answer. Where there is no route, that is what is wrong.

        aiohttp looks at expectations first, and there refuses those it does not know, in words of its own.
        Our routes pass over them (RFC 9110, section 10.1.1, lets both be done).
        """
        try:
            return await self._ordinary(request)
        except Exception:
            if (missing := request.match_info.http_exception) is not None:
                raise missing from None
            raise

    async def _bounded(self, request: web.Request, given: str, sending: Awaitable[None]) -> None:
        """Send within the write time-out, or cut the connection: who reads slowly must not keep an answer."""
        loop = asyncio.get_running_loop()
        overdue = loop.call_later(self._write_timeout, _cut, request, given)  # a third of `asyncio.timeout`
        try:
            await sending
        except ConnectionError:
            log.debug("client went away", extra={"request_id": given})
        finally:
            overdue.cancel()


def usual_body(request: web.Request, response: web.StreamResponse) -> bytes | None:
    """The body of an answer that has nothing special; None when it takes aiohttp to write it."""
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return None
    usual = (
        request.method != "HEAD"
        and request.version == HttpVersion11
        and request.keep_alive
        and _is_open(request)
        and all(map(str.isprintable, response.headers.values()))
    )
    return response.body if usual else None


def _is_open(request: web.Request) -> bool:
    return request.transport is not None and not request.transport.is_closing()


async def stamp(request: web.Request, response: web.StreamResponse) -> None:
    """Put on what every answer carries, just before aiohttp sends its headers.

    In HTTP/1.0 there are no chunks: what has no length ends where its connection does. aiohttp knows that for
    the headers, and yet keeps the connection of a client that has asked for it.
    """
    if request.version < HttpVersion11 and response.content_length is None:
        response.force_close()
    seen, headers = request[SEEN], response.headers
    seen.answered = time.perf_counter()
    headers["X-Request-ID"] = seen.request_id
    headers["X-Response-Time"] = response_time(seen.answered - seen.started)
    headers.update(request.app[CORS].for_(request.headers).headers)


async def _sent(response: web.StreamResponse, request: web.Request) -> None:
    await response.prepare(request)
    await response.write_eof()


def _cut(request: web.Request, given: str) -> None:
    log.warning("answer not read in time", extra={"request_id": given})
    if request.transport is not None:
        request.transport.abort()


def _begun(response: web.StreamResponse) -> str:
    own = "".join([f"{name}: {value}\r\n" for name, value in response.headers.items()])
    return f"HTTP/1.1 {response.status} {response.reason}\r\n{own}"


SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing (RFC 9110, section 9.2.1)."""

NO_HTTP: Final = "The request line is not one of HTTP/1.1"
NO_HEADERS: Final[MultiMapping[str]] = CIMultiDict()
_REQUEST_ID: Final = istr("X-Request-ID")
_BEGUN: Final = f"HTTP/1.1 200 OK\r\nContent-Type: {JSON_TYPE}\r\n"


@lru_cache(maxsize=1)
def _dated(second: int) -> str:
    return f"Date: {formatdate(second, usegmt=True)}\r\nServer: {SERVER_SOFTWARE}\r\n"
