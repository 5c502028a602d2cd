"""Waits that last too long are ended, each after its own time, by one timer."""

import asyncio

from streams.writing.patience import Patience


class Loop:
    """An event loop whose time is the test's."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, object]] = []
        self.set = 0

    def time(self) -> float:
        return self.now

    def call_at(self, at, callback, *args):
        self.set += 1
        timer = (at, lambda: callback(*args))
        self.timers.append(timer)
        return Handle(self.timers, timer)

    def pass_until(self, now: float) -> None:
        while due := [timer for timer in self.timers if timer[0] <= now]:
            timer = min(due, key=lambda timer: timer[0])
            self.timers.remove(timer)
            self.now = timer[0]
            timer[1]()
        self.now = now


class Handle:
    def __init__(self, timers, timer):
        self._timers, self._timer = timers, timer

    def cancel(self):
        self._timers.remove(self._timer)


class Wait(asyncio.Future):
    """A future of such a loop."""

    def __init__(self, loop):
        super().__init__()
        self.of = loop

    def get_loop(self):
        return self.of


async def test_each_wait_ends_after_its_own_time():
    loop, patience = Loop(), Patience()
    long, short = Wait(loop), Wait(loop)
    patience.begin(long, 5.0)
    patience.begin(short, 1.0)
    loop.pass_until(0.9)
    assert (False, False) == (short.done(), long.done())
    loop.pass_until(1.0)
    assert (True, False) == (short.done(), long.done())
    loop.pass_until(5.0)
    assert [False, False] == [short.result(), long.result()]
    assert [] == loop.timers


async def test_waits_that_end_in_time_share_one_timer():
    loop, patience = Loop(), Patience()
    for number in range(100):
        wait = Wait(loop)
        patience.begin(wait, 1.0)
        loop.pass_until(number * 0.005)
        wait.set_result(True)
        patience.end(wait)
    loop.pass_until(10.0)
    assert (1, []) == (loop.set, loop.timers)


async def test_one_that_is_done_as_its_time_ends_keeps_its_result():
    loop, patience = Loop(), Patience()
    wait = Wait(loop)
    patience.begin(wait, 1.0)
    wait.set_result(True)
    loop.pass_until(1.0)
    assert wait.result() is True
