"""The agent of a kind over a log in memory, with random commands, timers, crashes and redeliveries.

A crash strikes after any number of published records. Its successor is handed again what was not committed,
in other batches, and may not have indexed anything yet. Whatever happens, these hold:

- no event id has two contents, and the versions of an entity's life are 1, 2, 3, … without gap or repeat;
- every command has one outcome, however often it is delivered, refusals by absence apart;
- every sender who follows the changelog is answered, and a state that answers a command shows what it asked;
- a lamp is lit at the moment that its state names, and in the end none is left warming;
- delivering the last input again changes nothing.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from aiokafka import ConsumerRecord
from faust.types import TP
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from domain.entity import Command
from streams.headers import ANSWERED_BY, ANSWERS, BY_STATE, KEYED
from streams.kafka.partitions import partition_of
from tests.kinds.lamp import FLOW, LAMP, WARM_UP, Create, Delete, Paint
from tests.memory import KAFKA, CrashedError, KindWorker, Log

LAMPS = ("hall", "attic", "cellar")
EVENTS = tuple(FLOW.public)


@dataclass
class World:
    """What the world has seen so far; checks each thing as it comes."""

    log: Log
    contents: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    outcomes: dict[str, str] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    asked: dict[str, Command] = field(default_factory=dict)
    _positions: dict[TP, int] = field(default_factory=dict)

    def look(self) -> None:
        new = [record for topic in EVENTS for record in self.log.since(self._positions, topic)]
        for record in sorted(new, key=lambda each: each.number):
            self._event(record)
        answers = [
            *self.log.since(self._positions, FLOW.results),
            *self.log.since(self._positions, FLOW.state),
        ]
        for record in sorted(answers, key=lambda each: each.number):
            if record.topic == FLOW.state:
                self._state(record)
            else:
                self._result(json.loads(record.value))

    def _result(self, result: dict[str, str]) -> None:
        self.answered.add(result["command_id"])
        if result.get("code") == "RESOURCE_NOT_FOUND":
            return  # there is no state that could remember it
        first = self.outcomes.setdefault(result["command_id"], result["outcome"])
        assert result["outcome"] in (first, "duplicate" if first == "applied" else first)

    def _state(self, record: ConsumerRecord) -> None:
        for command_id in (value.decode() for name, value in record.headers if name == ANSWERS):
            state, asked = FLOW.decode(record.value), self.asked[command_id]
            self.answered.add(command_id)
            assert "applied" == self.outcomes.setdefault(command_id, "applied")
            assert asked.id == state.lamp.id
            if isinstance(asked, Delete):
                assert state.deleted_at is not None
            else:
                assert (asked.colour, None) == (state.lamp.colour, state.deleted_at)

    def _event(self, record: ConsumerRecord) -> None:
        said, lamp = headers(record), record.key.decode()
        content = (record.topic, record.value)
        if (known := self.contents.setdefault(said["event_id"], content)) is not content:
            assert known == content, "one event, two contents"
            return
        version = int(said["aggregate_version"])
        if lamp in self.ended:
            assert (record.topic, version) == ("lamp.created", 1), "only a purged id is born again"
            self.ended.discard(lamp)
        else:
            assert version == self.versions.get(lamp, 0) + 1, "a gap or a repeat"
        self.versions[lamp] = version
        if record.topic == "lamp.deleted":
            self.ended.add(lamp)


def headers(record: ConsumerRecord) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


class Story(RuleBasedStateMachine):
    """Clients, time, the agent and crashes, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.committed: dict[TP, int] = {}
        self.worker = KindWorker(FLOW, self.log, {}, commits=False)
        self.world = World(self.log)
        self.sent: list[Command] = []
        self.deletes: dict[str, datetime] = {}  # by lamp, when its first delete was sent

    @rule(
        lamp=st.sampled_from(LAMPS),
        kind=st.sampled_from([Create, Create, Paint, Paint, Delete]),
        expected=st.sampled_from([None, None, None, 1, 2]),
        keyed=st.booleans(),
        by_state=st.booleans(),
    )
    def send(self, lamp, kind, expected, keyed, by_state):
        members = {} if kind is Delete else {"colour": f"colour {len(self.sent)}"}
        number = f"command-{len(self.sent)}"
        if kind is Delete:
            self.deletes.setdefault(lamp, self.log.now)
        self.sent.append(kind(id=lamp, command_id=number, expected_version=expected, **members))
        self.world.asked[number] = self.sent[-1]
        self._append(
            self.sent[-1], {KEYED: "true"} if keyed else {}, {ANSWERED_BY: BY_STATE} if by_state else {}
        )

    @rule(which=st.integers(0, 5))
    def send_again(self, which):
        """Repeat a command, unless its lamp may have been purged: with it goes the memory of outcomes."""
        if which < len(self.sent):
            command = self.sent[-1 - which]
            if self.log.now - self.deletes.get(command.id, self.log.now) < LAMP.retention:
                self._append(command)

    def _append(self, command: Command, *given: dict[str, str]) -> None:
        self.log.append(FLOW.command(command, {name: text for each in given for name, text in each.items()}))

    @rule(seconds=st.sampled_from([0.5, 2, 3, 61, 90]))
    def time_passes(self, seconds):
        self.log.now += timedelta(seconds=seconds)

    @rule(partition=st.integers(0, KAFKA.partitions - 1))
    def wake(self, partition):
        committed = self.committed.get(TP(FLOW.commands, partition), 0)
        self.log.append(FLOW.wake(partition, self.log.now, committed=committed))

    @rule(most=st.sampled_from([1, 2, 100]))
    def work(self, most):
        self.worker.take_turn("lamp", at_most=most)

    @rule()
    def commit(self):
        self.committed = self.worker.committed = dict(self.worker.positions)

    @rule(lives=st.integers(0, 6), most=st.sampled_from([1, 2, 100]), indexed=st.booleans())
    def crash(self, lives, most, indexed):
        self.worker.producer.lives = lives
        try:
            self.worker.take_turn("lamp", at_most=most)
        except CrashedError:
            pass
        self.worker = KindWorker(FLOW, self.log, self.committed, commits=False, indexed=indexed)

    @invariant()
    def the_world_agrees(self):
        self.world.look()

    def teardown(self):
        self._all_is_done()
        for _ in range(2):
            self.log.now += 2 * WARM_UP
            for partition in range(KAFKA.partitions):
                self.wake(partition)
            self._all_is_done()
        assert set(self.world.asked) == self.world.answered
        live = [state for state in self.worker.table.values() if state.deleted_at is None]
        assert all(state.lamp.status == "lit" for state in live)
        stored = self._stored()
        self.worker = KindWorker(FLOW, self.log, self.committed, commits=False)
        self._all_is_done()
        assert stored == self._stored()

    def _all_is_done(self) -> None:
        while self.worker.take_turn("lamp", at_most=100):
            pass
        self.world.look()

    def _stored(self) -> list[tuple[str, int, datetime]]:
        live = [state for state in self.worker.table.values() if state.deleted_at is None]
        return sorted((state.lamp.id, state.version, state.lamp.updated_at) for state in live)


TestStory = Story.TestCase
TestStory.settings = settings(
    max_examples=200,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_a_wake_that_comes_again_purges_nothing_that_it_left_the_first_time():
    """A command that was refused since its id is taken is refused again, though its worker died."""
    # given a deleted lamp whose purge must wait, since its delete may come again
    story = Story()
    story.send("cellar", Create, None, keyed=False, by_state=False)
    story.work(1)
    story.send("cellar", Delete, None, keyed=False, by_state=False)
    story.commit()
    story.time_passes(61)
    story.wake(partition_of(b"cellar", KAFKA.partitions))
    story.work(100)
    # when a worker dies that has refused to create it again, and told so, and stored nothing
    story.send("cellar", Create, None, keyed=False, by_state=False)
    story.crash(1, 100, indexed=True)
    story.the_world_agrees()
    # then all that comes again is decided as it was
    story.work(1)
    story.commit()
    story.the_world_agrees()
    story.teardown()
