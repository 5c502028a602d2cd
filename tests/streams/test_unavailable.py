"""Partitions without a leader that answers: when one counts as such, and who is told."""

import asyncio
import logging

import pytest
from prometheus_client import REGISTRY

from streams.kafka.unavailable import LOOK_EVERY, UNACKNOWLEDGED_AFTER, Unacknowledged, UnavailablePartitions
from tests.conftest import until

ONE, OTHER = ("commands", 1), ("commands", 2)


class Writer:
    """A process that writes, at a time of the test's own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.since: dict[tuple[str, int], float] = {}  # when the oldest record of each was appended
        self.unacknowledged = Unacknowledged(self.waiting, clock=lambda: self.now)

    def waiting(self) -> dict[tuple[str, int], float]:
        return {partition: self.now - since for partition, since in self.since.items()}

    def look_for(self, seconds: float) -> set[tuple[str, int]]:
        """Look as often as a process does, for so long; returns all that were seen as unavailable."""
        seen = set()
        for _ in range(round(seconds / LOOK_EVERY)):
            self.now += LOOK_EVERY
            seen |= self.unacknowledged.look()
        return seen


@pytest.fixture
def writer() -> Writer:
    writer = Writer()
    writer.look_for(10)
    return writer


def test_a_partition_that_does_not_acknowledge_is_unavailable_until_it_does(writer):
    writer.since = {ONE: writer.now}
    assert set() == writer.look_for(UNACKNOWLEDGED_AFTER - LOOK_EVERY)
    writer.since[OTHER] = writer.now
    assert {ONE} == writer.look_for(LOOK_EVERY)
    assert {ONE} == writer.look_for(LOOK_EVERY)
    writer.since = {}
    assert set() == writer.look_for(10)


def test_a_broker_that_is_slow_only_is_not_unavailable(writer):
    """Something always waits, and each for half a second: 200 ms each way, behind the request before it."""
    for _ in range(40):
        writer.since = {ONE: writer.now - 0.25}
        assert set() == writer.look_for(LOOK_EVERY)


def test_a_pause_of_this_process_is_not_the_broker_s(writer):
    writer.since = {ONE: writer.now}
    writer.now += 30
    assert frozenset() == writer.unacknowledged.look()
    assert set() == writer.look_for(UNACKNOWLEDGED_AFTER - LOOK_EVERY)
    assert {ONE} == writer.look_for(LOOK_EVERY)


async def test_what_several_see_is_told_together_and_once(caplog):
    caplog.set_level(logging.INFO, "clusterflow.partitions")
    partitions, seen = UnavailablePartitions(), [{ONE}, {ONE, OTHER}]
    looks = [0, 0]

    def look(who: int) -> set[tuple[str, int]]:
        looks[who] += 1
        return seen[who]

    async def looked_again() -> bool:
        return min(looks) > before + 1

    def told() -> tuple[list[str], float | None]:
        topic = {"topic": "commands"}
        return partitions.names, REGISTRY.get_sample_value("clusterflow_partitions_unavailable", topic)

    # given two parts of a process that look
    before = 0
    watching = [asyncio.create_task(partitions.watch(lambda who=who: look(who))) for who in range(2)]
    await until(looked_again, within=10, what="two looks of both")

    # then what both see is told
    assert (["commands/1", "commands/2"], 2) == told()

    # and so is what one of them still sees when the other has ended
    watching[1].cancel()
    await asyncio.wait(watching[1:])
    assert (["commands/1"], 1) == told()

    # and nothing once all is well
    seen[0], looks[1], before = set(), 10**9, looks[0]
    await until(looked_again, within=10, what="two more looks")
    assert ([], 0) == told()
    watching[0].cancel()
    await asyncio.wait(watching)
    lines = [
        (record.levelname, record.partitions)  # type: ignore[attr-defined]
        for record in caplog.records
        if record.name == "clusterflow.partitions"  # roles of other tests may say something meanwhile
    ]
    assert ("WARNING", ["commands/1"]) == lines[0]
    assert ("INFO", ["commands/1"]) == lines[-1]
    assert 4 == len(lines)
