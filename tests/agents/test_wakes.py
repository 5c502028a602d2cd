"""What the metrics say of the timers of a kind: how many wait for the next wake, and how late wakes are."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice

import pytest
from prometheus_client import REGISTRY

from agents.entity import WAKE_SLICE
from streams.kafka.partitions import partition_of
from tests.kinds.lamp import FLOW, WARM_UP, Create
from tests.memory import KAFKA, KindWorker, Log

LATE = timedelta(hours=1)
LEFT = 30


def measured(name: str) -> float:
    """A metric of lamps."""
    value = REGISTRY.get_sample_value(f"clusterflow_{name}", {"kind": "lamp"})
    assert value is not None
    return value


def ids() -> Iterator[str]:
    """Ids that belong to partition 0."""
    names = (f"lamp-{number}" for number in count())
    return (name for name in names if partition_of(name.encode(), KAFKA.partitions) == 0)


def late(lamps: int) -> KindWorker:
    """A worker whose lamps have all wanted to be woken for an hour."""
    log = Log(now=datetime.now(UTC) - LATE - WARM_UP)
    worker = KindWorker(FLOW, log, {})
    for lamp in islice(ids(), lamps):
        log.append(FLOW.command(Create(id=lamp, command_id=f"create-{lamp}", colour="red"), {}))
    worker.take_turn("lamp", at_most=lamps)
    log.now += LATE + WARM_UP
    return worker


def wake(worker: KindWorker) -> None:
    worker.log.append(FLOW.wake(0, worker.log.now))
    worker.take_turn("lamp", at_most=1)


def lit(worker: KindWorker) -> int:
    return sum(state.lamp.status == "lit" for state in worker.table.values())


def test_due_entities_that_a_wake_leaves_are_counted_until_the_next_one():
    # given more than one wake may change
    worker = late(WAKE_SLICE + LEFT)
    assert 0 == measured("wakes_due")
    # when the partition is woken
    wake(worker)
    # then the metric says how many wait
    assert (WAKE_SLICE, LEFT) == (lit(worker), measured("wakes_due"))
    # and after another wake none waits
    wake(worker)
    assert (WAKE_SLICE + LEFT, 0) == (lit(worker), measured("wakes_due"))


def test_what_an_earlier_wake_of_the_same_turn_has_changed_is_not_counted():
    worker = late(2 * WAKE_SLICE + LEFT)
    for _ in range(2):
        worker.log.append(FLOW.wake(0, worker.log.now))
    worker.take_turn("lamp", at_most=2)
    assert (2 * WAKE_SLICE, LEFT) == (lit(worker), measured("wakes_due"))


def test_a_full_slice_that_leaves_nothing_asks_for_no_other_wake():
    worker = late(WAKE_SLICE)
    wake(worker)
    assert WAKE_SLICE == lit(worker)
    assert not worker.agent.wakes.more.is_set()
    assert 0 == measured("wakes_due")


def test_what_a_partition_had_left_is_not_counted_once_it_has_come_or_gone():
    worker = late(WAKE_SLICE + LEFT)
    wake(worker)
    assert LEFT == measured("wakes_due")
    worker.table.recovered()
    assert 0 == measured("wakes_due")


def test_each_woken_entity_shows_how_late_it_was():
    worker = late(3)
    before = measured("wake_lag_seconds_count"), measured("wake_lag_seconds_sum")
    wake(worker)
    assert 3 == measured("wake_lag_seconds_count") - before[0]
    lag = (measured("wake_lag_seconds_sum") - before[1]) / 3
    assert lag == pytest.approx(LATE.total_seconds(), abs=60)


def test_a_wake_that_seems_early_by_a_brokers_clock_is_not_late():
    worker, now = late(0), datetime.now(UTC)
    before = measured("wake_lag_seconds_sum")
    worker.agent.wakes.woken(now + LATE, now)
    assert before == measured("wake_lag_seconds_sum")
