"""Ends waits that last too long, with one timer for all of them.

A timer for each wait would be set and cancelled for every publish, which costs a microsecond each time, while
waits that last too long are rare.
"""

import asyncio


class Patience:
    """The waits of one event loop; a wait that lasts too long ends with False."""

    def __init__(self) -> None:
        self._ends: dict[asyncio.Future[bool], float] = {}  # in the loop's time
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0

    def begin(self, wait: "asyncio.Future[bool]", seconds: float) -> None:
        """Let a wait last for at most `seconds`; the waiting task must call `end` afterwards."""
        at = wait.get_loop().time() + seconds
        self._ends[wait] = at
        if self._timer is None or at < self._rings_at:
            self._ring(wait.get_loop(), at)

    def end(self, wait: "asyncio.Future[bool]") -> None:
        """Forget a wait that is over."""
        self._ends.pop(wait, None)

    def _ring(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._rings_at = loop.call_at(at, self._look, loop), at

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for wait in [wait for wait, at in self._ends.items() if at <= now]:
            self.end(wait)
            if not wait.done():
                wait.set_result(False)
        if self._ends:
            self._ring(loop, min(self._ends.values()))
