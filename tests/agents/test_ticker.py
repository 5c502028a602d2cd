"""Between two regular ticks: what a tick has left is gone on with at once."""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from faust.types import TP

from agents import clock as clocks
from agents import ticker as tickers
from agents.ticker import Ticker
from domain.cluster import Change, Reactive
from streams.producer import Output
from tests.agents.test_clock import CLUSTERS, SLICE, Due
from tests.e2e.test_model import TOPICS

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
WAITING = Reactive(
    last={"spec": LONG_AGO}, waiting={"spec": Change(reason="generation_increment", at=LONG_AGO)}
)
APP = SimpleNamespace(recovering=False, consumer=SimpleNamespace(assignment=lambda: {TP(TOPICS.ticks, 0)}))


class DoneError(Exception):
    """Nothing is left to announce."""


class Loop:
    """A producer of ticks which the worker handles as soon as they are published."""

    def __init__(self, due: Due) -> None:
        self.due = due
        self.announced: list[int] = []

    async def publish(self, ticks: Sequence[Output]) -> None:
        for tick in ticks:
            self.due.log.append(tick)
        self.announced.append(self.due.turn())
        if len(self.due.announced()) == CLUSTERS:
            raise DoneError


async def test_changes_that_wait_since_one_moment_are_announced_slice_by_slice_without_a_pause(monkeypatch):
    monkeypatch.setattr(clocks, "SLICE", SLICE)
    due = Due(waiting=WAITING, reactive=True)
    loop = Loop(due)
    ticker = Ticker(APP, loop, due.worker.clock, topic=TOPICS.ticks)
    with pytest.raises(DoneError):
        await ticker.tick_between()
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

    async def publish(self, ticks: Sequence[Output]) -> None:
        self.published += len(ticks)
        if self.published == 2:
            raise DoneError


async def test_a_workers_clock_that_is_set_back_between_two_readings_holds_up_no_tick(monkeypatch):
    monkeypatch.setattr(tickers, "time", SetBack())
    ticker = Ticker(APP, Counting(), Due().worker.clock, topic=TOPICS.ticks)
    with pytest.raises(DoneError):
        async with asyncio.timeout(20):
            await ticker.tick(timedelta(seconds=0.1))
