"""Bounds the bytes of answers that clients have not read yet, for all connections together.

A connection takes its next request once its last answer is in the kernel's buffers, so it holds at most one
answer: up to a page, or a chunk of a watch. The kernel's own buffers are not counted, and neither are the
first 4 KiB of each connection (`web.http.protocol.UNCOUNTED`). An answer that does not fit waits here, and is
refused if it does not fit in time. A waiting request holds no documents, because it might be the last to keep
those of states that were replaced long ago.

A quarter is reserved for short answers, so that clients that leave long answers unread do not block the
others.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Final

from aiohttp import web
from prometheus_client import Gauge

from domain.errors import Unavailable

UNREAD_BYTES = Gauge("clusterflow_http_unread_bytes", "Bytes of answers that wait to be read")

SHORT: Final = 64 * 1024
"""The bytes up to which an answer's pieces are joined and written at once. Longer ones are not copied."""

MAX_DOCUMENT: Final = 1024 * 1024
"""The maximum of bytes of a cluster's JSON: a spec up to 512 KiB, and the members around it."""

ROOM_WITHIN: Final = 5.0
"""Seconds for others to read before an answer that does not fit is refused."""


class Unread:
    """The bytes of answers that wait to be read.

    Args:
        most: The maximum of bytes. A longer answer is sent when no other waits.

    Attributes:
        held: Their present number.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_for_long = most - most // 4
        self.held = 0
        self._freed = asyncio.Event()

    def fits(self, length: int) -> bool:
        """Whether an answer of `length` bytes may wait as well."""
        if not self.held:
            return True
        return self.held + length <= (self._most if length <= SHORT else self._most_for_long)

    async def room(self, length: int, *, within: float) -> bool:
        """Wait until an answer fits, for at most `within` seconds; return whether it does."""
        try:
            async with asyncio.timeout(within):
                while not self.fits(length):
                    await self._freed.wait()
        except TimeoutError:
            return False
        return True

    async def require_room(self, length: int) -> None:
        """Wait until an answer fits. Raises: Unavailable: it does not within `ROOM_WITHIN`."""
        if not self.fits(length) and not await self.room(length, within=ROOM_WITHIN):
            raise Unavailable("Too many answers are waiting to be read; try again", retry_after=ROOM_WITHIN)

    @asynccontextmanager
    async def reserved(self, length: int) -> AsyncIterator[None]:
        """Reserve room for a write's answer of about `length` bytes before the write, as it must be sent.

        Raises: Unavailable: there is no room, and nothing was done.
        """
        await self.require_room(length)
        with self.holding(length) if length > SHORT else nullcontext():
            yield

    @contextmanager
    def holding(self, length: int) -> Iterator[None]:
        """Count a waiting answer until it has been read or given up."""
        self.held += length
        UNREAD_BYTES.inc(length)
        try:
            yield
        finally:
            self.held -= length
            UNREAD_BYTES.dec(length)
            freed, self._freed = self._freed, asyncio.Event()
            freed.set()


UNREAD: Final = web.AppKey("unread", Unread)
