"""Watches: the change feed as server-sent events (WHATWG HTML, section 9.2).

A watch is one long answer. `tables.feed` decides what it says next; here it is written, all that is pending
at once, in pieces that are the feed's own. What a reader has not taken waits in the ring, not here: beyond
one chunk nothing is buffered, and all watches share the bound of other answers (`web/http/unread.py`). A
reader that blocks a write for too long is cut off, and one that the ring has passed by is told so and let go.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec
from aiohttp import HttpVersion11, web
from aiohttp_sse import EventSourceResponse
from prometheus_client import Counter as Metric
from prometheus_client import Gauge

from domain.errors import Rejected, Unavailable, not_found
from serving.monitor import HealthMonitor
from tables.feed import CHUNK, Feed, FellBehind, Watched, Watcher, WatchEvent
from tables.positions import FeedPosition, at, expired
from web.http.errors import error_body
from web.http.headers import once_as_text
from web.http.unread import MAX_DOCUMENT, SHORT, Unread
from web.keys import REQUEST_STATE
from web.settings import WebSettings

log = logging.getLogger("clusterflow.watch")

WATCHERS = Gauge("clusterflow_watchers", "Open watches")
EVENTS = Metric("clusterflow_watch_events_total", "Events written to watchers")
ENDED = Metric("clusterflow_watches_ended_total", "Watches that ended", ["reason"])

PACE: Final = 0.05
"""Seconds between two writes to one reader: many small ones cost more than they bring."""

LOOK: Final = 2.0
"""Seconds after which an idle watch looks whether its reader is still there; nobody tells it."""

_TAKEN: Final = CHUNK + MAX_DOCUMENT
"""Bytes that a watch takes at a time, at most."""

Reason = Literal["gone", "deleted", "too_slow", "blocked", "shutdown", "failed"]

_END: Final = b"\n\n"
_RECONNECT: Final = b"retry: 1000\n\n"  # milliseconds


def is_watch(request: web.Request) -> bool:
    """Whether a GET asks for a stream instead of an answer."""
    return request.method == "GET" and request.query.get("watch", "").lower() == "true"


class Watches:
    """The watches that this process serves."""

    def __init__(
        self, feeds: Sequence[Feed[Any]], health: HealthMonitor, unread: Unread, settings: WebSettings
    ) -> None:
        self._feeds = feeds
        self._health = health
        self._unread = unread
        self._settings = settings
        self._open: set[_Stream] = set()
        self._of_each: Counter[str] = Counter()

    async def serve(
        self, request: web.Request, email: str, feed: Feed[Any], wanted: Watched
    ) -> web.StreamResponse:
        """Stream what is wanted of a feed until either side has enough.

        Raises:
            Rejected: `WATCH_EXPIRED` or `VALIDATION_FAILED` for the given id of the last event,
                `RESOURCE_NOT_FOUND` if the one entity wanted is not there, `TOO_MANY_WATCHES` if this
                identity has as many as it may.
            Unavailable: the view is still being filled, too many are watching, or too few are reading.
        """
        self._health.require_view()
        try:
            since = await self._since(request, feed)
        except Rejected as refusal:
            if refusal.code == "VALIDATION_FAILED" and not _is_there(feed, wanted, []):
                raise not_found() from None
            raise
        await self._unread.require_room(_TAKEN)
        self._require_place(email)
        watcher = feed.watch(wanted, since)
        beginning = watcher.take()
        if not _is_there(feed, wanted, beginning):
            raise not_found()
        stream = _Stream(request, feed, watcher, self._unread, self._settings)
        self._open.add(stream)
        self._of_each[email] += 1
        WATCHERS.inc()
        try:
            return await stream.run(beginning)
        finally:
            self._open.remove(stream)
            self._of_each[email] -= 1
            if not self._of_each[email]:
                del self._of_each[email]
            WATCHERS.dec()

    def _require_place(self, email: str) -> None:
        """Look for room for one more watch.

        Who has too many is told so, with a status of its own: another process, or to wait, is no remedy.
        """
        most = self._settings.max_watchers_each
        if self._of_each[email] >= most:
            text = f"You have {most} watches on this process, as many as one identity may; end one of them"
            raise Rejected("TOO_MANY_WATCHES", text, limit=most)
        if len(self._open) >= self._settings.max_watchers:
            raise Unavailable("Too many watches on this process; try again", retry_after=5.0)

    async def close(self, _: web.Application) -> None:
        """End all watches now: their readers come back to another process, where they left off here."""
        for feed in self._feeds:
            feed.close()
        for stream in self._open:
            stream.hurry()

    async def _since(self, request: web.Request, feed: Feed[Any]) -> FeedPosition | None:
        token = once_as_text(request.headers, "Last-Event-ID") or request.query.get("last_event_id")
        if not token:
            return None
        since = feed.position_of(token)
        try:
            async with asyncio.timeout(self._settings.watch_reach.total_seconds()):
                while not feed.has_read(since):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            self._health.require_kafka()
            read = feed.position
            behind = {(feed.topic, n) for n, offset in enumerate(since) if at(read, n) < offset}
            self._health.require_partitions(behind)
            raise expired() from None  # a place that the log does not have
        return since


def _is_there(feed: Feed[Any], wanted: Watched, beginning: list[WatchEvent]) -> bool:
    """Whether the reader may know of the entity: it is visible now, or was at its last event."""
    if wanted.id is None:
        return True
    entry = feed.view.get(wanted.id)
    shown = entry is not None and wanted.filter.shows(entry.columns)
    return shown or any(event.kind == "DELETED" for event in beginning)


WATCHES: Final = web.AppKey("watches", Watches)


class _Stream:
    """One watch."""

    def __init__(
        self, request: web.Request, feed: Feed[Any], watcher: Watcher, unread: Unread, settings: WebSettings
    ) -> None:
        self._request = request
        self._feed = feed
        self._watcher = watcher
        self._unread = unread
        self._write_within = settings.watch_write_timeout.total_seconds()
        self._heartbeat = settings.watch_heartbeat.total_seconds()
        self._response = EventSourceResponse(
            sep="\n", ping_interval=self._heartbeat, send_timeout=self._write_within
        )
        self._writing: asyncio.Timeout | None = None
        self._told_at = 0.0
        self._written = 0

    async def run(self, beginning: list[WatchEvent]) -> web.StreamResponse:
        """Write until the watch ends; nothing is raised once headers may have been sent."""
        started = asyncio.get_running_loop().time()
        reason: Reason = "failed"
        try:
            await self._response.prepare(self._request)
            async with self._response:
                reason = await self._follow(beginning)
                await self._write(self._last_words(reason))
                await self._end()
        except ConnectionResetError:
            reason = "gone" if reason == "failed" else reason
        except TimeoutError:
            reason = "shutdown" if self._feed.closed else "blocked"
            self._cut()
        except Exception:
            log.exception("watch failed", extra={"request_id": self._request[REQUEST_STATE].request_id})
            self._cut()
        ENDED.labels(reason).inc()
        seconds = round(asyncio.get_running_loop().time() - started, 3)
        self._request[REQUEST_STATE].stream = {
            "stream_s": seconds,
            "stream_events": self._written,
            "stream_end": reason,
        }
        return self._response

    async def _follow(self, beginning: list[WatchEvent]) -> Reason:
        await self._write([_RECONNECT, *self._framed(beginning)])
        events = beginning
        while not self._feed.closed:
            if self._watcher.ended:
                return "deleted"
            if not self._is_connected():
                return "gone"
            if not self._unread.fits(_TAKEN) and not await self._unread.room(_TAKEN, within=LOOK):
                continue  # what it would take now might be kept alive by nobody else, so it takes nothing
            try:
                events = self._watcher.take() or self._progress()
            except FellBehind:
                return "too_slow"
            if events:
                length = await self._write(self._framed(events))
                # A write that finds room does not wait, and others want their turn.
                await asyncio.sleep(PACE if length < CHUNK else 0)
            else:
                await self._wait()
        return "shutdown"

    async def _wait(self) -> None:
        """Wait for changes, but not long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(LOOK, self._heartbeat)):
                await self._feed.grown(self._watcher.number)

    def _progress(self) -> list[WatchEvent]:
        """Now and then, where the reader is, so that it can resume after a long silence of its clusters."""
        if asyncio.get_running_loop().time() - self._told_at < self._heartbeat:
            return []
        event = self._watcher.bookmark()
        return [] if event is None else [event]

    def _framed(self, events: list[WatchEvent]) -> list[bytes]:
        if events:
            self._told_at = asyncio.get_running_loop().time()
            self._written += len(events)
            EVENTS.inc(len(events))
        parts: list[bytes] = []
        for kind, document, token in events:
            parts += (_head(kind, token), document, _END)
        return parts

    def _last_words(self, reason: Reason) -> list[bytes]:
        if reason != "too_slow":
            return []
        text = "The reader fell behind the changes that are kept; start again without Last-Event-ID"
        body = error_body("WATCH_TOO_SLOW", text, request_id=self._request[REQUEST_STATE].request_id)
        return [b"event: ERROR\ndata: %b\n\n" % msgspec.json.encode(body)]

    async def _write(self, parts: list[bytes]) -> int:
        """Write and wait until it is taken; returns how many bytes it was.

        Raises: ConnectionResetError: the reader is gone. TimeoutError: it does not read.
        """
        length = sum(map(len, parts))
        if length:
            self._send(parts, length)
            if self._request.protocol.writing_paused:
                with self._unread.holding(length):
                    await self._in_time(self._request.writer.drain())
        return length

    def _send(self, parts: list[bytes], length: int) -> None:
        """Hand it to the transport, as a chunk unless this is HTTP/1.0; aiohttp would join the parts."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the reader is gone")
        if self._request.version >= HttpVersion11:
            parts = [b"%x\r\n" % length, *parts, b"\r\n"]
        if length <= SHORT:
            transport.write(b"".join(parts))
        else:
            transport.writelines(parts)

    async def _end(self) -> None:
        await self._in_time(self._response.write_eof())

    async def _in_time(self, writing: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._write_within) as self._writing:
                await writing
        finally:
            self._writing = None

    def hurry(self) -> None:
        """Give a write that is under way one more second."""
        if self._writing is not None:
            self._writing.reschedule(asyncio.get_running_loop().time() + 1)

    def _is_connected(self) -> bool:
        transport = self._request.transport
        return transport is not None and not transport.is_closing()

    def _cut(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()


@lru_cache(maxsize=4096)  # many watchers are told of each change
def _head(kind: str, token: str) -> bytes:
    """An event as it is written, up to its document: JSON on one line, so `data` needs no splitting."""
    return f"event: {kind}\nid: {token}\ndata: ".encode() if token else f"event: {kind}\ndata: ".encode()
