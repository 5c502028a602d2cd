"""What every request goes through: id, answer or error in the one shape, bounds, and what is told of it.

    Edge ──▶ plain read? ──────────────────────────────────────▶ written at once
      └────▶ aiohttp's application: route, handler ──▶ errors ──┘
                                                           └────▶ HEAD, streams, …: written by aiohttp

What clients do not read is bounded (`web/http/unread.py`). A read that does not fit goes the ordinary way,
and is asked for again when there is room. A write has found room before it was done (`web.http.unread`).

It stands around the application and not in it as middlewares: those come after the router and cost more than
most reads do. What aiohttp does to write a small answer costs as much again, so what is nothing special is
written here, headers in the same order.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
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
from web.http.errors import (
    JSON_TYPE,
    error_response,
    http_error_response,
    rejection_response,
    unavailable_response,
)
from web.http.headers import Cors, new_id, once, request_id, response_time
from web.http.pieces import Pieces, body_of, pieces_of
from web.http.plain import Plain, PlainReads
from web.http.request_log import UNMATCHED, log_exchange, log_request, route_of
from web.http.unread import SHORT, Unread
from web.keys import CORS, REQUEST_STATE, RequestState

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
        self,
        plain: PlainReads,
        ordinary: Handler,
        hosts: Hosts,
        cors: Cors,
        unread: Unread,
        *,
        write_timeout: timedelta,
    ) -> None:
        self._plain = plain
        self._hosts = hosts
        self._ordinary = ordinary
        self._cors = cors
        self._unread = unread
        self._write_timeout = write_timeout.total_seconds()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer it."""
        started = time.perf_counter()
        given = request_id(request.headers.get(_REQUEST_ID, ""))
        plain = self._plain.find(request)
        if plain is not None and _is_open(request):
            length = sum(map(len, plain.answer.pieces))
            if not self._unread.held or self._unread.fits(length):
                head = self._logged_head(request, plain, given, length, started)
                return await self._written(request, given, head, plain.answer.pieces, length)
            plain = None  # who waits for room keeps no document in memory
        try:
            self._require_ours(request)
        except Rejected as refusal:
            return self.refuse(request, refusal, started=started, given=given)
        request[REQUEST_STATE] = state = RequestState(given, started)
        response = await self._answer(request, given)
        seconds = (state.answered or time.perf_counter()) - started  # of a watch, to its beginning
        log_request(request, status=response.status, seconds=seconds)
        if response.prepared:  # it is a stream, which has bounds of its own
            return response
        length = _length(request, response)
        if (body := usual_body(request, response)) is not None:
            head = self._head(request.headers, given, _begun(response), length, seconds)
            return await self._written(request, given, head, pieces_of(body), length)
        await self._bounded(request, given, _sent(response, request), length)
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
        log_exchange(
            request,
            route=UNMATCHED,
            status=response.status,
            seconds=seconds,
            request_id=given,
            entity_id=None,
            body_size=0,
        )
        begun = f"{_begun(response)}Connection: close\r\n"
        head = self._head(NO_HEADERS, given, begun, len(response.body), seconds)
        if request.transport is not None:  # a client that sends no HTTP often leaves without an answer
            request.transport.write(head if request.method == "HEAD" else head + response.body)
        return LAST_WRITTEN

    def _logged_head(
        self, request: web.Request, plain: Plain, given: str, length: int, started: float
    ) -> bytes:
        """Tell of a plain read; returns the head of its answer."""
        answer = plain.answer
        seconds = time.perf_counter() - started
        log_exchange(
            request,
            route=plain.route,
            status=200,
            seconds=seconds,
            request_id=given,
            entity_id=plain.entity_id,
            kind=plain.kind,
            body_size=0,
        )
        version = answer.version
        etag = "" if version is None else f'ETag: "{version}"\r\n'
        begun = f"{_BEGUN}{etag}{_NO_STORE}" if answer.secret else f"{_BEGUN}{etag}"
        return self._head(request.headers, given, begun, length, seconds)

    def _head(self, asked: MultiMapping[str], given: str, begun: str, length: int, seconds: float) -> bytes:
        """The head of an answer to a request of these headers, begun with its status and its own."""
        return (
            f"{begun}Content-Length: {length}\r\n{_dated(int(time.time()))}"
            f"X-Request-ID: {given}\r\nX-Response-Time: {response_time(seconds)}\r\n"
            f"{self._cors.for_(asked).lines}\r\n"
        ).encode()

    async def _written(
        self, request: web.Request, given: str, head: bytes, pieces: Sequence[bytes], length: int
    ) -> web.StreamResponse:
        """Write an answer at once; long pieces are the view's, and stay so."""
        assert request.transport is not None
        if length <= SHORT:
            request.transport.write(b"".join((head, *pieces)))
        else:
            request.transport.writelines((head, *pieces))
        if request.protocol.writing_paused:
            await self._bounded(request, given, request.writer.drain(), length)
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

        Raises: Unavailable: what others have not read leaves no room for the answer.
        """
        try:
            response = await self._ordinary(request)
            while request.method in SAFE and not response.prepared:
                length = _length(request, response)
                if self._unread.fits(length):
                    break
                del response
                await self._unread.require_room(length)
                response = await self._ordinary(request)
            return response
        except Exception:
            if (missing := request.match_info.http_exception) is not None:
                raise missing from None
            raise

    async def _bounded(self, request: web.Request, given: str, sending: Awaitable[None], length: int) -> None:
        """Send within the write time-out, or cut the connection: who reads slowly must not keep an answer."""
        loop = asyncio.get_running_loop()
        overdue = loop.call_later(self._write_timeout, _cut, request, given)  # a third of `asyncio.timeout`
        try:
            with self._unread.holding(length):
                await sending
        except ConnectionError:
            log.debug("client went away", extra={"request_id": given})
        finally:
            overdue.cancel()


def usual_body(request: web.Request, response: web.StreamResponse) -> bytes | Pieces | None:
    """The body of an answer that has nothing special; None when it takes aiohttp to write it."""
    body = body_of(response)
    if body is None:
        return None
    usual = (
        request.method != "HEAD"
        and request.version == HttpVersion11
        and request.keep_alive
        and _is_open(request)
        and all(map(str.isprintable, response.headers.values()))
    )
    return body if usual else None


def _length(request: web.Request, response: web.StreamResponse) -> int:
    """Bytes of an answer's body that will be sent."""
    body = body_of(response)
    return 0 if body is None or request.method == "HEAD" else sum(map(len, pieces_of(body)))


def _is_open(request: web.Request) -> bool:
    return request.transport is not None and not request.transport.is_closing()


async def stamp(request: web.Request, response: web.StreamResponse) -> None:
    """Put on what every answer carries, just before aiohttp sends its headers.

    In HTTP/1.0 there are no chunks: what has no length ends where its connection does. aiohttp knows that for
    the headers, and yet keeps the connection of a client that has asked for it.
    """
    if request.version < HttpVersion11 and response.content_length is None:
        response.force_close()
    state, headers = request[REQUEST_STATE], response.headers
    state.answered = time.perf_counter()
    headers["X-Request-ID"] = state.request_id
    headers["X-Response-Time"] = response_time(state.answered - state.started)
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
_NO_STORE: Final = "Cache-Control: no-store\r\n"
_REQUEST_ID: Final = istr("X-Request-ID")
_BEGUN: Final = f"HTTP/1.1 200 OK\r\nContent-Type: {JSON_TYPE}\r\n"


@lru_cache(maxsize=1)
def _dated(second: int) -> str:
    return f"Date: {formatdate(second, usegmt=True)}\r\nServer: {SERVER_SOFTWARE}\r\n"
