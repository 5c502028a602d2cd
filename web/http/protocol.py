"""aiohttp's protocol, with the one error shape for input that it refuses by itself.

Input that its parser cannot read never becomes a request, so no route, handler or middleware sees it. aiohttp
answers it as text over HTTP/1.0, in the parser's words, which repeat the input. Here it gets the one error
shape. Then its connection ends, because the following bytes may be anything.
"""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.hdrs import CONTENT_ENCODING
from aiohttp.http_exceptions import (
    BadStatusLine,
    ContentEncodingError,
    ContentLengthError,
    HttpProcessingError,
    InvalidHeader,
    InvalidURLError,
    LineTooLong,
    TransferEncodingError,
)
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from domain.errors import Rejected, invalid
from web.http.edge import NO_HTTP, Edge, Handler, LastWritten

log = logging.getLogger("clusterflow.api_server")

LINGER: Final = 2.0
"""Seconds for a client to read the answer to refused input."""

UNCOUNTED: Final = 4096
"""Bytes per connection that may wait to be read in addition to the bound; a connection itself takes more.

uvloop sends everything that was written in one round of its loop together, and anything beyond this limit at
once. A limit of 0 sent each small answer by itself, which cost 15 % of the reads per second of 64
connections.
"""

# The refusal for each class of errors; the first class that matches counts.
_TEXTS: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (LineTooLong, "request", "The request line or a header is too long"),
    (BadStatusLine, "request", NO_HTTP),
    (InvalidURLError, "request", "The request's target is not a path of ASCII characters"),
    (InvalidHeader, "headers", "A header has another form than `Name: value`"),
    (ContentEncodingError, str(CONTENT_ENCODING), "Content-Encoding must be gzip or deflate, or absent"),
    (ContentLengthError, "body", "The body is shorter than its Content-Length"),
    (TransferEncodingError, "body", "The body's chunks can't be told apart"),
)
_OTHERWISE: Final = "The request can't be read as HTTP/1.1; check its headers and the framing of its body"
_NO_HOST: Final = "Missing 'Host' header"
_TWICE: Final = re.compile(r"Duplicate '([A-Za-z-]+)' header found\.")


def refusal_of(error: BaseException) -> Rejected:
    """An error of aiohttp's parser in our words, without any content of the request."""
    if twice := _TWICE.fullmatch(getattr(error, "message", "")):
        return invalid(f"{twice[1]} must be sent once", field=twice[1])
    if getattr(error, "message", "").startswith(_NO_HOST):
        return invalid("Host is missing; HTTP/1.1 needs it", field="Host")
    for kind, field, text in _TEXTS:
        if isinstance(error, kind):
            return invalid(text, field=field)
    return invalid(_OTHERWISE, field="request")


class _Refusal(LastWritten):
    """A refusal that was written; its connection is kept for a while, so that the client can read it.

    Closing a connection with unread input resets it, and the answer is lost with it (RFC 9112,
    section 9.6).
    """

    def __init__(self, protocol: "Protocol") -> None:
        super().__init__()
        self._protocol = protocol

    async def write_eof(self, data: bytes = b"") -> None:
        """Wait until the client has closed the connection too, or for `LINGER` seconds."""
        await self._protocol.linger()


class Protocol(RequestHandler):
    """One connection."""

    max_head: int
    """Approximate bytes of a request's line and headers together; a single header may have as many."""

    _lost: asyncio.Event | None = None
    _head = 0  # bytes of an incomplete head

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pause writing once more than `UNCOUNTED` bytes wait here, so that longer answers are counted."""
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.set_write_buffer_limits(high=UNCOUNTED)

    def data_received(self, data: bytes) -> None:
        """Pass data to the parser. An error within a body is raised to the handler that reads the body."""
        super().data_received(data)
        if not self._messages:
            if self._reads_head():
                self._bound_head(len(data))
            return
        self._head = 0
        if self._current_request is None and not self._upgraded:
            return
        message, _ = self._messages[-1]
        if not isinstance(message, _ErrInfo):
            if message.url is None:  # CONNECT without a target, of which aiohttp cannot make a request
                self._messages[-1] = (_ErrInfo(400, InvalidURLError(""), ""), EMPTY_PAYLOAD)
        elif self._current_request is not None:
            body = self._current_request.content
            if not body.is_eof() and body.exception() is None:
                body.set_exception(web.RequestPayloadError("the body can't be read"))

    def _reads_head(self) -> bool:
        """Whether the next bytes belong to the head of a request, and not to the body of the previous one."""
        if self._current_request is None:
            return self._waiter is not None
        return self._current_request.content.is_eof()

    def _bound_head(self, more: int) -> None:
        """Refuse a request whose head is too long: aiohttp bounds only each header, and allows 128 of them.

        After a request that is not answered yet it gets no answer, and its connection just ends.
        """
        if self._close:
            return
        self._head += more
        if self._head <= self.max_head:
            return
        self._close = True  # the following bytes are ignored
        if self._waiter is not None and not self._waiter.done():
            self._messages.append((_ErrInfo(400, LineTooLong("", self.max_head), ""), EMPTY_PAYLOAD))
            self._waiter.set_result(None)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Release everything of a connection that is gone."""
        super().connection_lost(exc)
        if self._lost is not None:
            self._lost.set()

    async def linger(self) -> None:
        """Discard input until the client has disconnected."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        self.close()  # discards all input from now on
        self._lost = asyncio.Event()
        if transport.can_write_eof():
            transport.write_eof()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                await self._lost.wait()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer input that the parser has refused, or a request that the edge itself has failed on."""
        edge = self._request_handler
        assert isinstance(edge, Edge)
        if request.writer.output_size > 0:
            raise ConnectionError("half an answer is out already")
        if isinstance(exc, HttpProcessingError):
            log.debug("request can't be read", extra={"error": type(exc).__name__})
            edge.refuse(request, refusal_of(exc), started=time.perf_counter())
            return _Refusal(self)
        log.error("request failed", exc_info=exc)
        refusal = Rejected("INTERNAL_ERROR", "Internal error")
        return edge.refuse(request, refusal, started=time.perf_counter())

    def log_exception(self, *args: Any, **more: Any) -> None:
        """Log errors that aiohttp cannot recover from; of faulty input, log only the error type."""
        error = more.get("exc_info")
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            log.debug("body can't be read", extra={"error": type(error).__name__})
        else:
            super().log_exception(*args, **more)


class _Server(web.Server):
    """Makes a protocol for each connection."""

    def __call__(self) -> RequestHandler:
        protocol = Protocol(self, loop=self._loop, **self._kwargs)
        protocol.max_head = self._kwargs["max_field_size"]
        return protocol


class Runner(web.AppRunner):
    """Serves an application behind the edge.

    Args:
        edge: Makes the edge around the application's handler.
        settings: aiohttp's settings.
    """

    def __init__(self, app: web.Application, edge: Callable[[Handler], Edge], **settings: Any) -> None:
        super().__init__(app, **settings)
        self._edge = edge

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        edge: Any = self._edge(made.request_handler)  # of `web.Request`, which the factory makes of all
        loop = asyncio.get_running_loop()
        return _Server(edge, request_factory=made.request_factory, loop=loop, **made._kwargs)
