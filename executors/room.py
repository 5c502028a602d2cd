"""How many pieces of work an executor claims: as many as it can do, and those that a claim takes time for.

A claim takes a turn of its owner, some ten milliseconds. If nothing were claimed before a place is free, the
place would be empty for so long. A piece that is claimed too early would wait here while its lease and its
time limit run. So pieces are claimed ahead in twice the number of places that become free while a claim is
decided, by what claims and work have taken lately: none where work is slow, as many as there are places where
it is quicker than two claims.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final

WEIGHT: Final = 0.05
"""The weight of the latest duration in the average."""

MARGIN: Final = 2.0
"""How many times as many are claimed ahead as an average claim calls for, since some take longer."""


class Room:
    """The places of an executor.

    Args:
        most: Pieces that are done at one time.
        ahead: Whether any may be claimed before there is a place for it.
        clock: Seconds, monotonic.
    """

    def __init__(self, most: int, *, ahead: bool = True, clock: Callable[[], float] = monotonic) -> None:
        self._most = most
        self._may_claim_ahead = ahead
        self._clock = clock
        self._places = asyncio.Semaphore(most)
        self._open = 0  # pieces that are being claimed, wait for a place, or are being done
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._claiming = 0.0
        self._working: float | None = None  # nothing is known before the first piece is done

    @property
    def ahead(self) -> int:
        """How many pieces may be claimed before there is a place for them."""
        if self._working is None or not self._may_claim_ahead:
            return 0
        if self._claiming * MARGIN >= self._working:
            return self._most
        return round(self._most * self._claiming * MARGIN / self._working)

    @asynccontextmanager
    async def entered(self) -> AsyncIterator[None]:
        """Wait until another piece may be claimed; while this lasts, it counts."""
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(admitted)
        self._admit()
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.done() and not admitted.cancelled():
                self._leave()
            raise
        try:
            yield
        finally:
            self._leave()

    def claimed(self, seconds: float) -> None:
        """A claim has taken so long."""
        self._claiming += (seconds - self._claiming) * WEIGHT

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place, and have it while this lasts."""
        async with self._places:
            began = self._clock()
            try:
                yield
            finally:
                seconds = self._clock() - began
                before = seconds if self._working is None else self._working
                self._working = before + (seconds - before) * WEIGHT

    def _admit(self) -> None:
        while self._waiting and self._open < self._most + self.ahead:
            admitted = self._waiting.popleft()
            if not admitted.done():
                self._open += 1
                admitted.set_result(None)

    def _leave(self) -> None:
        self._open -= 1
        self._admit()
