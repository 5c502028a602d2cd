"""An entity is never woken at one moment twice: the events of a wake have ids that are made of its moment."""

from datetime import datetime

from domain.entity import Command
from tests.kinds.lamp import FLOW, WARM_UP, Create, Paint
from tests.memory import KAFKA, START, KindWorker, Log


class Lamps:
    """A worker of lamps, and the clock of its broker, which can be set back."""

    def __init__(self) -> None:
        self.log = Log()
        self.worker = KindWorker(FLOW, self.log, {})

    def decide(self, command: Command, at: datetime) -> None:
        self.log.now = at
        self.log.append(FLOW.command(command, {}))
        self.worker.take_turn("lamp", at_most=100)

    def wake(self, at: datetime) -> None:
        self.log.now = at
        for partition in range(KAFKA.partitions):
            self.log.append(FLOW.wake(partition, at))
        self.worker.take_turn("lamp", at_most=100)

    def lit(self) -> list[str]:
        """The ids of the events by which lamps were lit."""
        return [dict(record.headers)["event_id"].decode() for record in self.log.since({}, "lamp.lit")]


def test_a_lamp_is_lit_under_another_id_though_the_clock_was_set_back():
    lamps = Lamps()
    lamps.decide(Create(id="hall", command_id="c1", colour="red"), START)
    lamps.wake(START + WARM_UP)

    lamps.decide(Paint(id="hall", command_id="c2", colour="blue"), START)
    lamps.wake(START + 3 * WARM_UP)

    assert 2 == len(lamps.lit()) == len(set(lamps.lit()))
