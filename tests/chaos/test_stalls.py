"""What a fault cost is told of the operations that were under way meanwhile, and of no others."""

import pytest

from tests.chaos.broker_faults import TWO_AGAIN
from tests.chaos.history import Attempt, History, Operation
from tests.chaos.observe import Observed
from tests.chaos.plan import Fault, draw
from tests.chaos.run import Injected, Outcome
from tests.chaos.stalls import HEADER, resumed, rows

PAUSED = Injected(Fault("pause-leader", 0, 20.0, seed=1), began=40.0, ended=60.0)


def outcome(*operations: Operation, attempts: tuple[Attempt, ...] = ()) -> Outcome:
    """Of a run with one pause, and two brokers that were away until its hundredth second."""
    history = History(attempts=list(attempts), operations=list(operations), missed_reads=[39.0, 41.0, 42.0])
    moments = [(100.0, TWO_AGAIN)]
    plan = draw(1, only=["kill-web"])
    return Outcome(plan, history, Observed(), [], 120.0, injected=[PAUSED], moments=moments)


def told(found: Outcome) -> dict[str, object]:
    [row] = rows(found)
    return dict(zip(HEADER, row, strict=True))


@pytest.mark.parametrize(
    ("operation", "stall"),
    [
        pytest.param(Operation(41.0, 53.0), 12.0, id="within it"),
        pytest.param(Operation(58.0, 65.0), 7.0, id="over its end"),
        pytest.param(Operation(39.0, 42.0), 3.0, id="over its begin"),
        pytest.param(Operation(10.0, 39.0), 0.0, id="before it"),
        pytest.param(Operation(61.0, 90.0), 0.0, id="after it"),
    ],
)
def test_the_longest_stall_of_a_fault(operation: Operation, stall: float) -> None:
    assert told(outcome(operation))["longest stall s"] == stall


def test_writes_left_open_and_missed_reads_are_counted() -> None:
    def attempt(at: float, status: int, command_id: str | None = None) -> Attempt:
        return Attempt(mark="m", kind="update", client="c", started=at, status=status, command_id=command_id)

    attempts = (attempt(45.0, 200), attempt(46.0, 503), attempt(47.0, 0, "over Kafka"), attempt(70.0, 503))

    found = told(outcome(attempts=attempts))

    assert (found["writes"], found["of them open"], found["missed"]) == (2, 1, 2)


def test_how_long_writes_took_is_told_of_those_with_an_answer() -> None:
    def attempt(at: float, took: float, status: int) -> Attempt:
        return Attempt(mark="m", kind="update", client="c", started=at, ended=at + took, status=status)

    attempts = (attempt(45.0, 0.2, 200), attempt(46.0, 0.7, 409), attempt(47.0, 9.0, 503))

    assert told(outcome(attempts=attempts))["p99 s"] == pytest.approx(0.7)


def test_writes_go_on_when_the_last_that_waited_is_answered() -> None:
    found = outcome(Operation(95.0, 103.0), Operation(99.0, 104.5), Operation(100.5, 119.0))

    assert resumed(found) == [pytest.approx(4.5)]


def test_nothing_waited_for_the_second_broker() -> None:
    assert resumed(outcome(Operation(10.0, 20.0))) == [0.0]
