"""What web has to say and nobody has read yet: bounded in bytes, for all connections together.

A connection takes its next request once its last answer is in the kernel's hands, so it holds one answer at
most: as long as a page may be, or a chunk of a watch. The kernel's own buffers are not ours to count, nor are
the first 4 KiB of each connection (`web.http.protocol.UNCOUNTED`). What does not fit waits here, and what
still does not fit is turned away; whoever waits holds nothing meanwhile but a request, because documents that
are kept for a reader may be the last to show a state long replaced.

A quarter is for short answers alone: those who leave long ones unread do not keep others from asking.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Final

from prometheus_client import Gauge

from domain.errors import Unavailable

UNREAD_BYTES = Gauge("clusterflow_http_unread_bytes", "Bytes of answers that wait to be read")

SHORT: Final = 64 * 1024
"""Bytes of an answer that are joined to be written at once. Pieces of longer ones are not copied any more."""

MAX_DOCUMENT: Final = 1024 * 1024
"""Bytes of a cluster's JSON at most: of a spec up to 512 KiB, and what is shown around it."""

ROOM_WITHIN: Final = 5.0
"""Seconds for others to read before an answer that does not fit is turned away."""


class Unread:
    """The bytes of answers that wait to be read.

    Args:
        most: Bytes at most. An answer that is longer is sent when no other waits.

    Attributes:
        held: How many they are now.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_for_long = most - most // 4
        self.held = 0
        self._freed = asyncio.Event()

    def fits(self, length: int) -> bool:
        """Whether an answer of so many bytes may wait as well."""
        if not self.held:
            return True
        return self.held + length <= (self._most if length <= SHORT else self._most_for_long)

    async def room(self, length: int, *, within: float) -> bool:
        """Wait until it fits, for so many seconds at most; returns whether it does."""
        try:
            async with asyncio.timeout(within):
                while not self.fits(length):
                    await self._freed.wait()
        except TimeoutError:
            return False
        return True

    async def require_room(self, length: int) -> None:
        """Wait until it fits. Raises: Unavailable: nobody else has read enough within `ROOM_WITHIN`."""
        if not self.fits(length) and not await self.room(length, within=ROOM_WITHIN):
            raise Unavailable("Too many answers are waiting to be read; try again", retry_after=ROOM_WITHIN)

    @asynccontextmanager
    async def reserved(self, length: int) -> AsyncIterator[None]:
        """Do a write whose answer will be about so long: its outcome has to be told, so it finds room before.

        Raises: Unavailable: there is none, and nothing was done.
        """
        await self.require_room(length)
        with self.holding(length) if length > SHORT else nullcontext():
            yield

    @contextmanager
    def holding(self, length: int) -> Iterator[None]:
        """Count an answer that waits, until it has been read or given up."""
        self.held += length
        UNREAD_BYTES.inc(length)
        try:
            yield
        finally:
            self.held -= length
            UNREAD_BYTES.dec(length)
            freed, self._freed = self._freed, asyncio.Event()
            freed.set()
