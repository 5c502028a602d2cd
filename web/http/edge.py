"""The path of every request: its id, its answer or error in the one shape, its bounds, and its log line.

    Edge ──▶ plain read? ──────────────────────────────────────▶ written at once
      └────▶ aiohttp's application: route, handler ──▶ errors ──┘
                                                           └────▶ HEAD, streams, …: written by aiohttp

Unread answers are bounded (`web/http/unread.py`). A plain read whose answer does not fit is handled by the
application, and is read again when there is room. A write reserves room before it is done.

The edge surrounds the application instead of being middlewares in it, because these run after the router and
cost more than most reads. aiohttp's writing of a small answer costs as much again, so ordinary answers are
written here, with headers in the same order.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from email.utils import formatdate
from functools import lru_cache
from typing import Final
from uuid import UUID

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.hdrs import HOST, ORIGIN
from aiohttp.http import SERVER_SOFTWARE
from multidict import CIMultiDict, MultiMapping, istr

from domain.errors import Rejected, TransientError, invalid
from domain.hosts import Hosts
from serving.ids import new_id, request_id
from streams.trace import trace_id
from web.http.errors import (
    JSON_TYPE,
    error_response,
    http_error_response,
    rejection_response,
    unavailable_response,
)
from web.http.headers import CORS, TRACE_ID, Cors, once, response_time
from web.http.pieces import Pieces, body_of, pieces_of
from web.http.plain import Plain, PlainReads
from web.http.request_log import UNMATCHED, log_exchange, log_request, route_of
from web.http.unread import SHORT, Unread
from web.keys import REQUEST_STATE, RequestState

log = logging.getLogger("clusterflow.api_server")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Written(web.StreamResponse):
    """A response that has been written already; aiohttp only reads whether to keep the connection."""

    keep_alive = True

    async def prepare(self, request: web.BaseRequest) -> None:
        """It is."""

    async def write_eof(self, data: bytes = b"") -> None:
        """It is."""


class LastWritten(_Written):
    """The last response on its connection, written already."""

    keep_alive = False


WRITTEN: Final = _Written()
LAST_WRITTEN: Final = LastWritten()


class Edge:
    """Takes requests from aiohttp's server.

    Args:
        ordinary: The application.
        slugged: The beginnings of paths of simple kinds, whose errors have a shape of their own.
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
        slugged: tuple[str, ...],
    ) -> None:
        self._plain = plain
        self._slugged = slugged
        self._hosts = hosts
        self._ordinary = ordinary
        self._cors = cors
        self._unread = unread
        self._write_timeout = write_timeout.total_seconds()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer a request."""
        started = time.perf_counter()
        given = request_id(request.headers.get(_REQUEST_ID, ""))
        plain = self._plain.find(request)
        if plain is not None and _is_open(request):
            length = sum(map(len, plain.answer.pieces))
            if not self._unread.held or self._unread.fits(length):
                head = self._logged_head(request, plain, given, length, started)
                return await self._written(request, given, head, plain.answer.pieces, length)
            plain = None  # a request that waits for room must keep no document in memory
        try:
            self._require_ours(request)
        except Rejected as refusal:
            return self.refuse(request, refusal, started=started, given=given, slugs=self._slugs(request))
        request[REQUEST_STATE] = state = RequestState(given, started)
        response = await self._answer(request, given)
        seconds = (state.answered or time.perf_counter()) - started  # of a watch, to its beginning
        log_request(request, status=response.status, seconds=seconds)
        if response.prepared:  # a stream has bounds of its own
            return response
        if state.trace is not None:
            response.headers[TRACE_ID] = str(UUID(hex=trace_id(state.trace)))
        if state.limit is not None:
            response.headers.update(state.limit)
        length = _length(request, response)
        if (body := usual_body(request, response)) is not None:
            head = self._head(request.headers, given, _begun(response), length, seconds)
            return await self._written(request, given, head, pieces_of(body), length)
        await self._bounded(request, given, _sent(response, request), length)
        return response

    def _require_ours(self, request: web.Request) -> None:
        """Refuse requests that are no HTTP, have a foreign host, or write from a foreign page."""
        if request.version not in (HttpVersion11, HttpVersion10):
            raise invalid(NO_HTTP, field="request")
        host = once(request.headers, HOST)
        self._hosts.require(host)
        if not request.raw_path.startswith(("/", "*")):  # a URL with a host, which precedes `Host`
            self._hosts.require(request.url.host_subcomponent)
        origin = once(request.headers, ORIGIN)
        if origin is not None and request.method not in SAFE:
            self._cors.require(origin, host)

    def refuse(
        self,
        request: web.BaseRequest,
        refusal: Rejected,
        *,
        started: float,
        given: str | None = None,
        slugs: bool = False,
    ) -> web.StreamResponse:
        """Answer a request that reaches no route, and end its connection."""
        given = given or new_id()
        response = rejection_response(refusal, request_id=given, slugs=slugs)
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
        if request.transport is not None:  # a client that sends no HTTP often disconnects before the answer
            request.transport.write(head if request.method == "HEAD" else head + response.body)
        return LAST_WRITTEN

    def _logged_head(
        self, request: web.Request, plain: Plain, given: str, length: int, started: float
    ) -> bytes:
        """Log a plain read, and return the head of its answer."""
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
        """The head of an answer: `begun` holds its status and own headers, `asked` the request's headers."""
        return (
            f"{begun}Content-Length: {length}\r\n{_dated(int(time.time()))}"
            f"X-Request-ID: {given}\r\nX-Response-Time: {response_time(seconds)}\r\n"
            f"{self._cors.for_(asked).lines}\r\n"
        ).encode()

    async def _written(
        self, request: web.Request, given: str, head: bytes, pieces: Sequence[bytes], length: int
    ) -> web.StreamResponse:
        """Write an answer at once; long pieces are the view's own and are not copied."""
        assert request.transport is not None
        if length <= SHORT:
            request.transport.write(b"".join((head, *pieces)))
        else:
            request.transport.writelines((head, *pieces))
        if request.protocol.writing_paused:
            await self._bounded(request, given, request.writer.drain(), length)
        return WRITTEN

    def _slugs(self, request: web.Request) -> bool:
        """Whether errors of this path have the codes of simple kinds, also where it has no route."""
        return request.path.startswith(self._slugged)

    async def _answer(self, request: web.Request, given: str) -> web.StreamResponse:
        """Turn every exception into the one error shape; the text of an unexpected one is only logged."""
        try:
            return await self._routed(request)
        except Rejected as refusal:
            return rejection_response(refusal, request_id=given, slugs=self._slugs(request))
        except TransientError as error:
            return unavailable_response(error, request_id=given, slugs=self._slugs(request))
        except web.HTTPException as error:
            if request.method == "OPTIONS":  # no route has it, and browsers send it before other methods
                return web.Response(status=204)
            return http_error_response(error, request_id=given, slugs=self._slugs(request))
        except Exception:
            log.exception("request failed", extra={"request_id": given, "route": route_of(request)})
            return error_response(
                500, "INTERNAL_ERROR", "Internal error", request_id=given, slugs=self._slugs(request)
            )

    async def _routed(self, request: web.Request) -> web.StreamResponse:
        """Let the application answer. A missing route is reported before any other fault.

        aiohttp checks expectations first, and refuses unknown ones in words of its own. Our routes ignore
        them (RFC 9110, section 10.1.1, allows both).

        Raises: Unavailable: unread answers of others leave no room for this one.
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
        """Send within the write time-out, or cut the connection: a slow reader must not keep an answer."""
        loop = asyncio.get_running_loop()
        overdue = loop.call_later(self._write_timeout, _cut, request, given)  # a third of `timeout`'s cost
        try:
            with self._unread.holding(length):
                await sending
        except ConnectionError:
            log.debug("client went away", extra={"request_id": given})
        finally:
            overdue.cancel()


def usual_body(request: web.Request, response: web.StreamResponse) -> bytes | Pieces | None:
    """The body of an ordinary answer; None if aiohttp has to write it."""
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
    """The bytes of an answer's body."""
    body = body_of(response)
    return 0 if body is None or request.method == "HEAD" else sum(map(len, pieces_of(body)))


def _is_open(request: web.Request) -> bool:
    return request.transport is not None and not request.transport.is_closing()


async def stamp(request: web.Request, response: web.StreamResponse) -> None:
    """Add the headers of every answer, just before aiohttp sends its headers.

    HTTP/1.0 has no chunks, so a body without a length ends with its connection. aiohttp knows that for the
    headers, and yet keeps the connection open for a client that has asked for it.
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
