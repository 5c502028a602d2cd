"""Buckets over a log in memory, with many who ask, time, crashes and redeliveries.

Whatever happens, no more tokens are handed out than were there and have come back since, and each who asks is
told one thing, however often the record is delivered.
"""

import json
from datetime import datetime, timedelta

from faust.types import TP
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from domain.bucket import Take
from domain.rates import key_of
from streams.bucket import FLOW
from streams.headers import ANSWERED_BY, ANSWERS, BY_STATE
from tests.memory import KAFKA, CrashedError, KindWorker, Log

NAMES = ("jobs_create", "diagnosis")
CAPACITY = {"jobs_create": 3.0, "diagnosis": 2.0}
RATE = {"jobs_create": 0.0, "diagnosis": 0.5}


class Story(RuleBasedStateMachine):
    """Those who ask, time, the agent and crashes, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.committed: dict[TP, int] = {}
        self.worker = KindWorker(FLOW, self.log, {}, commits=False)
        self.asked: dict[str, str] = {}
        self.first: dict[str, datetime] = {}
        self.told: dict[str, bool] = {}
        self.places: dict[TP, int] = {}

    @rule(name=st.sampled_from(NAMES), times=st.integers(1, 4), by_state=st.booleans())
    def ask(self, name, times, by_state):
        self.first.setdefault(name, self.log.now)
        for _ in range(times):
            command_id = f"take-{len(self.asked)}"
            self.asked[command_id] = name
            take = Take(
                id=key_of(name, "global"),
                command_id=command_id,
                name=name,
                scope="global",
                capacity=CAPACITY[name],
                refill_rate=RATE[name],
            )
            self.log.append(FLOW.command(take, {ANSWERED_BY: BY_STATE} if by_state else {}))

    @rule(seconds=st.sampled_from([0.5, 1, 2, 10, 100]))
    def time_passes(self, seconds):
        self.log.now += timedelta(seconds=seconds)

    @rule(partition=st.integers(0, KAFKA.partitions - 1))
    def wake(self, partition):
        committed = self.committed.get(TP(FLOW.commands, partition), 0)
        self.log.append(FLOW.wake(partition, self.log.now, committed=committed))

    @rule(most=st.sampled_from([1, 2, 100]))
    def work(self, most):
        self.worker.take_turn("bucket", at_most=most)

    @rule()
    def commit(self):
        self.committed = self.worker.committed = dict(self.worker.positions)

    @rule(lives=st.integers(0, 6), most=st.sampled_from([1, 2, 100]), indexed=st.booleans())
    def crash(self, lives, most, indexed):
        self.worker.producer.lives = lives
        try:
            self.worker.take_turn("bucket", at_most=most)
        except CrashedError:
            pass
        self.worker = KindWorker(FLOW, self.log, self.committed, commits=False, indexed=indexed)

    @invariant()
    def no_more_are_granted_than_there_were(self):
        for record in self.log.since(self.places, FLOW.results):
            result = json.loads(record.value)
            self._told(result["command_id"], result["document"]["granted"])
        for record in self.log.since(self.places, FLOW.state):
            answered = [value.decode() for name, value in record.headers if name == ANSWERS]
            for command_id in answered:
                self._told(command_id, FLOW.decode(record.value).bucket.granted)
        for name, first in self.first.items():
            granted = sum(told for id, told in self.told.items() if self.asked[id] == name)
            passed = (self.log.now - first).total_seconds()
            assert granted <= CAPACITY[name] + passed * RATE[name]

    def _told(self, command_id: str, granted: bool) -> None:
        assert granted == self.told.setdefault(command_id, granted)

    def teardown(self):
        while self.worker.take_turn("bucket", at_most=100):
            pass
        self.no_more_are_granted_than_there_were()
        assert self.asked.keys() == self.told.keys()
        least = sum(min(CAPACITY[name], list(self.asked.values()).count(name)) for name in self.first)
        assert sum(self.told.values()) >= least
        assert all(state.recent == () for state in self.worker.table.values())


TestStory = Story.TestCase
TestStory.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
