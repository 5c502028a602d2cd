"""Between two regular ticks: what a tick has left is gone on with at once."""

from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from faust.types import TP

from agents import clock as clocks
from agents.ticker import Ticker
from domain.cluster import Change, Reactive
from streams.producer import Output
from tests.agents.test_clock import CLUSTERS, SLICE, Due
from tests.e2e.test_model import TOPICS

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
WAITING = Reactive(
    last={"spec": LONG_AGO}, waiting={"spec": Change(reason="generation_increment", at=LONG_AGO)}
)


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
    app = SimpleNamespace(
        recovering=False, consumer=SimpleNamespace(assignment=lambda: {TP(TOPICS.ticks, 0)})
    )
    ticker = Ticker(app, loop, due.worker.clock, topic=TOPICS.ticks)
    with pytest.raises(DoneError):
        await ticker.tick_between()
    assert [SLICE, SLICE, SLICE, CLUSTERS - 3 * SLICE] == loop.announced
