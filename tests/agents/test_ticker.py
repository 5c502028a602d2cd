"""Between two regular ticks: what a tick has left is gone on with at once."""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from agents import clock as clocks
from agents import ticker as tickers
from agents.ticker import Ticker
from domain.cluster.state import PendingAnnouncement, Reactive
from streams.writing.outputs import Output, RecordPosition
from tests.agents.due import CLUSTERS, SLICE, Due
from tests.conftest import until
from tests.memory import TOPICS

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
WAITING = Reactive(
    last={"spec": LONG_AGO}, waiting={"spec": PendingAnnouncement(reason="generation_increment", at=LONG_AGO)}
)
APP = SimpleNamespace(
    recovering=False,
    consumer=SimpleNamespace(assignment=lambda: {TP(TOPICS.ticks, 0)}),
    held_partitions=dict,
)


class DoneError(Exception):
    """Nothing is left to announce."""


class Loop:
    """A producer of ticks which the worker handles as soon as they are published."""

    def __init__(self, due: Due) -> None:
        self.due = due
        self.announced: list[int] = []

    async def publish(self, ticks: Sequence[Output], *, acknowledged: Any) -> None:
        for tick in ticks:
            self.due.log.append(tick)
        self.announced.append(self.due.turn())
        if len(self.due.announced()) == CLUSTERS:
            raise DoneError


async def test_changes_that_wait_since_one_moment_are_announced_slice_by_slice_without_a_pause(monkeypatch):
    monkeypatch.setattr(clocks, "TICK_SLICE", SLICE)
    due = Due(waiting=WAITING, reactive=True)
    loop = Loop(due)
    ticker = Ticker(APP, loop, due.worker.clock, topic=TOPICS.ticks)
    with pytest.raises(DoneError):
        await ticker.run()
    assert [SLICE, SLICE, SLICE, CLUSTERS - 3 * SLICE] == loop.announced


class SetBack:
    """A wall clock that is set back by a day after its first reading."""

    monotonic = staticmethod(tickers.time.monotonic)

    def __init__(self) -> None:
        self._readings = itertools.chain([86_400.0 * 365], itertools.repeat(86_400.0 * 364))

    def time(self) -> float:
        return next(self._readings)


class Counting:
    """A producer that is done with its second tick."""

    def __init__(self) -> None:
        self.published = 0

    async def publish(self, ticks: Sequence[Output], *, acknowledged: Any) -> None:
        self.published += len(ticks)
        if self.published == 2:
            raise DoneError


async def test_a_workers_clock_that_is_set_back_between_two_readings_holds_up_no_tick(monkeypatch):
    monkeypatch.setattr(tickers, "time", SetBack())
    ticker = Ticker(APP, Counting(), Due().worker.clock, topic=TOPICS.ticks)
    with pytest.raises(DoneError):
        async with asyncio.timeout(20):
            await ticker.tick(timedelta(seconds=0.1))


class Silent:
    """A producer of which partition 1 acknowledges nothing until it is told to."""

    def __init__(self) -> None:
        self.acknowledges = asyncio.Event()
        self.ticks: list[int] = []  # partitions
        self.owned = {TP(TOPICS.ticks, partition) for partition in range(3)}
        self.held: dict[str, list[int]] = {}
        self.app = SimpleNamespace(
            recovering=False,
            consumer=SimpleNamespace(assignment=lambda: self.owned),
            held_partitions=lambda: self.held,
        )

    async def publish(self, ticks: Sequence[Output], *, acknowledged: Any) -> None:
        partitions = [tick.partition for tick in ticks]
        self.ticks += partitions
        acknowledged({n: RecordPosition(p, 0) for n, p in enumerate(partitions) if p != 1})
        if 1 in partitions:
            await self.acknowledges.wait()


class Wants:
    """A clock that always wants a tick for every partition."""

    indexed = True

    def __init__(self) -> None:
        self.more = asyncio.Event()
        self.asked: list[int] = []

    def between(self, partition: int) -> clocks.Between:
        self.asked.append(partition)
        self.more.set()
        return clocks.Between(None, "left", 1)


@pytest.fixture
def _short_grace(monkeypatch):
    monkeypatch.setattr(tickers, "GRACE", 0.01)


@pytest.mark.usefixtures("_short_grace")
async def test_a_partition_that_acknowledges_no_tick_holds_up_no_others_and_gathers_none():
    # given a partition without leader
    silent = Silent()
    ticker = Ticker(silent.app, silent, Wants(), topic=TOPICS.ticks)

    # when some intervals pass
    ticking = asyncio.create_task(ticker.tick(timedelta(seconds=0.05)))
    await until(lambda: true(silent.ticks.count(0) >= 5), what="ticks of the others")

    # then the others have had their ticks, and it has had one
    assert (1, silent.ticks.count(0)) == (silent.ticks.count(1), silent.ticks.count(2))

    # and it has them again once it has a leader
    silent.acknowledges.set()
    await until(lambda: true(silent.ticks.count(1) >= 3), what="its ticks")
    ticking.cancel()


@pytest.mark.usefixtures("_short_grace")
async def test_between_regular_ticks_nothing_is_asked_of_partitions_that_have_to_wait():
    """The clock tells once what a tick has left, so it must not be asked in vain."""
    silent, clock = Silent(), Wants()
    silent.held = {"clusters": [2]}
    ticker = Ticker(silent.app, silent, clock, topic=TOPICS.ticks)
    clock.more.set()
    ticking = asyncio.create_task(ticker.run())
    await until(lambda: true(silent.ticks.count(0) >= 5), what="ticks of the one that waits for nobody")
    assert (1, 0) == (silent.ticks.count(1), silent.ticks.count(2))
    assert (1, 0) == (clock.asked.count(1), clock.asked.count(2))
    silent.acknowledges.set()
    silent.held = {}
    await until(lambda: true(silent.ticks.count(1) >= 3 and silent.ticks.count(2) >= 3), what="all ticks")
    ticking.cancel()


@pytest.mark.usefixtures("_short_grace")
async def test_a_tick_that_fails_for_good_after_the_grace_ends_the_ticker():
    silent = Silent()
    ticker = Ticker(silent.app, silent, Wants(), topic=TOPICS.ticks)

    async def fail(ticks: Sequence[Output], *, acknowledged: Any) -> None:
        await asyncio.sleep(0.03)
        raise DoneError

    silent.publish = fail  # type: ignore[method-assign]
    with pytest.raises(DoneError):
        async with asyncio.timeout(20):
            await ticker.tick(timedelta(seconds=0.05))


async def true(answer: bool) -> bool:
    return answer
