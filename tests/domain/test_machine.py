"""The deciders beside a model of the contract: random commands, reports, ticks, repeats and redeliveries.

`deliver` does with one input what an agent does: drop what the record reflects, answer what it remembers,
decide and seal the rest. After each step the record says what the model says; and whatever came before:

- generations are 1, 2, 3, … and each accepted write is told by exactly one event;
- the status is the one of its counted reports, and no older than any of them;
- input that comes again, from any point and onto any state stored since, tells the same ids or nothing;
- a live cluster has a moment at which the clock looks at it, and is announced by the first tick after that.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from domain.cluster.commands import Command, Report
from domain.cluster.decide import decide_report, evolve
from domain.cluster.events import Created, Deleted, Ignored, Reconciled, Updated
from domain.cluster.schedule import reconciles_at
from domain.cluster.state import ClusterState, counted
from domain.entity import Outcome
from domain.offsets import Seen
from domain.values import replace
from streams.cluster.events import event_output
from tests.domain.given import (
    CONTROLLER,
    GCP,
    OWNER,
    POLICY,
    STRANGER,
    T0,
    Refused,
    create,
    decided,
    delete,
    reconcile,
    says,
    ticked,
    update,
    uuid,
)
from tests.domain.model import Model, Word, new
from tests.domain.scenarios import said

TELLING = Created | Updated | Deleted | Reconciled
NOWHERE: dict[str, Any] = {"platform": {"type": "nowhere"}}


@dataclass(frozen=True)
class Input:
    """A record of an input topic: a command, a report or (None) a tick."""

    topic: str
    offset: int
    at: datetime
    what: Command | Report | None


@dataclass(frozen=True)
class Told:
    """What an input led to: answers, and the bytes of events."""

    answers: tuple[Any, ...] = ()
    events: tuple[tuple[Any, bytes | None], ...] = ()


@dataclass(frozen=True)
class Delivery:
    """An input, the record it met first, what it led to then, and whether the record was marked with it."""

    input: Input
    before: ClusterState | None
    told: Told
    marked: bool


def deliver(record: ClusterState | None, given: Input) -> tuple[ClusterState | None, Told]:
    """The record after an input, and what is told."""
    if record is not None and record.reflects(given.topic, given.offset):
        return record, Told()
    match given.what:
        case None:
            return _ticked(record, given)
        case Report() as report:
            return _reported(record, given, report)
        case command:
            return _commanded(record, given, command)


def _commanded(record: ClusterState | None, given: Input, command: Command) -> Any:
    if record is not None and (known := record.outcome_of(command.command_id)) is not None:
        return record, Told(answers=((known.code, known.details),))
    event = decided(record, command, at=given.at)
    if isinstance(event, Refused):
        told = Told(answers=((event.code, event.details),))
        if record is None or event.code == "RESOURCE_NOT_FOUND":
            return record, told
        outcome = Outcome(command_id=command.command_id, code=event.code, details=event.details)
        return _sealed(record, given, outcome), told
    after = _sealed(evolve(record, event, POLICY), given, Outcome(command_id=command.command_id))
    return after, Told(((None, {}),), (_event(event, record, after, command),))


def _reported(record: ClusterState | None, given: Input, report: Report) -> Any:
    if record is None or record.deleted_at is not None:
        return record, Told(answers=("unknown_cluster",))
    event = decide_report(record, report, at=given.at)
    if isinstance(event, Ignored):
        return record, Told(answers=(event.result,))
    return _sealed(evolve(record, event, POLICY), given), Told(answers=("applied",))


def _ticked(record: ClusterState | None, given: Input) -> Any:
    if record is None:
        return None, Told()
    after, announced = ticked(record, given.at)
    if after is None or after is record:
        return after, Told()
    events = [_event(event, record, after, uuid(10**6 + given.offset)) for event in announced]
    return _sealed(after, given), Told(events=tuple(events))


def _sealed(record: ClusterState, given: Input, outcome: Outcome | None = None) -> ClusterState:
    return record.sealed(seen=Seen(given.topic, given.offset), at=given.at, outcome=outcome)


def _event(event: TELLING, before: ClusterState | None, after: ClusterState, cause: Command | str) -> Any:
    output = event_output("events", 0, event, before=before, after=after, cause=cause, source="here")
    return event, output.value


users = st.sampled_from([OWNER, OWNER, STRANGER, CONTROLLER])
few = st.integers(0, 3)
born = precondition(lambda self: self.record is not None)
generations = st.sampled_from([None, None, 0, 1, -1])
versions = st.sampled_from([None, None, 0, 1, "nonsense"])
a_while = st.sampled_from([0, 0.5, 10, 20, 30, 60, 100, 280, 400, 1800, 7200])  # seconds


class Life(RuleBasedStateMachine):
    """One cluster, from before its birth to after its purge."""

    def __init__(self) -> None:
        super().__init__()
        self.now = T0
        self.record: ClusterState | None = None
        self.model: Model | None = None
        self.offsets: Counter[str] = Counter()
        self.history: list[Delivery] = []
        self.ids = 0

    # --- input ----------------------------------------------------------------------------------------

    def send(self, topic: str, what: Command | Report | None) -> Told:
        """Deliver something new."""
        given = Input(topic, self.offsets[topic], self.now, what)
        self.offsets[topic] += 1
        before = self.record
        self.record, told = deliver(before, given)
        self.history.append(Delivery(given, before, told, self.record is not before))
        return told

    def command(self, command: Command, expected: str | None) -> None:
        """Send a command; it fares as the model expects."""
        before = self.record
        told = self.send("commands", command)
        assert [expected] == [code for code, _ in told.answers]
        assert (expected is None) == (len(told.events) == 1), "one event per accepted write, none otherwise"
        if expected is not None and before is not None:
            assert self.record is not None
            assert before == _unsealed(self.record, before), "a refusal changes nothing"

    def new_id(self) -> int:
        self.ids += 1
        return self.ids

    @initialize(early=st.booleans())
    def birth(self, early: bool) -> None:
        if early:  # before it is there, nothing is found
            self.command(update(self.new_id()), "RESOURCE_NOT_FOUND")
        self.command(create(self.new_id(), spec=NOWHERE), "INVALID_SPEC")
        self.command(create(self.new_id()), None)
        assert self.record is not None
        self.model = new(OWNER, self.record.cluster.resource_version, self.now)

    @born
    @rule(by=users)
    def create_again(self, by: str) -> None:
        self.command(create(self.new_id(), by=by), "RESOURCE_CONFLICT")

    @born
    @rule(
        by=users, valid=st.sampled_from([True, True, True, False]), generation=generations, version=versions
    )
    def update(self, by: str, valid: bool, generation: int | None, version: int | str | None) -> None:
        generation, version = self.expectation(generation, version)
        expected = self.model.update(by, self.now, valid=valid, generation=generation, version=version)
        spec = {**GCP, "n": self.ids} if valid else NOWHERE
        members = {"expected_generation": generation, "expected_resource_version": version}
        self.command(update(self.new_id(), by=by, spec=spec, **members), expected)
        if expected is None:
            self.model.versions.append(self.record.cluster.resource_version)
        self.tells_what_is_current(expected)

    @born
    @rule(by=users, force=st.booleans(), seldom=few, generation=generations, version=versions)
    def delete(
        self, by: str, force: bool, seldom: int, generation: int | None, version: int | str | None
    ) -> None:
        if seldom and (force or self.model.row.phase != "Ready"):
            return  # most lives are to be long
        generation, version = self.expectation(generation, version)
        expected = self.model.delete(by, self.now, force=force, generation=generation, version=version)
        members = {"expected_generation": generation, "expected_resource_version": version}
        self.command(delete(self.new_id(), by=by, force=force, **members), expected)
        self.tells_what_is_current(expected)

    def expectation(self, generation: int | None, version: int | str | None) -> tuple[int | None, str | None]:
        """What a writer expects: a generation near the current one, a version so many before it."""
        if generation is not None:
            generation = max(1, self.model.generation + generation)
        if isinstance(version, int):
            version = self.model.versions[max(-len(self.model.versions), -1 - version)]
        return generation, version

    def tells_what_is_current(self, code: str | None) -> None:
        if code == "GENERATION_CONFLICT":
            current = {"generation": self.model.generation, "resource_version": self.model.versions[-1]}
            assert [(code, current)] == list(self.history[-1].told.answers)

    @born
    @rule(by=users)
    def reconcile(self, by: str) -> None:
        before = self.record.schedule
        self.command(reconcile(self.new_id(), by=by), self.model.reconcile(by))
        assert before == self.record.schedule, "a manual reconcile does not move the schedule"

    @born
    @rule(
        controller=st.sampled_from(["dns", "net", "vm"]),
        ahead=st.sampled_from([0, 0, 0, 0, -1, -2, 1, 2]),
        ready=st.booleans(),
        error=st.sampled_from([None, None, "Transient", "Fatal"]),
        report_id=st.none() | st.integers(1, 4),
    )
    def report(
        self, controller: str, ahead: int, ready: bool, error: str | None, report_id: int | None
    ) -> None:
        generation = max(1, self.model.generation + ahead)
        id_ = None if report_id is None else uuid(10**5 + report_id)
        expected, schedule = "unknown_cluster", self.record.schedule
        phase = self.model.row.phase
        if self.model.deleted_at is None:
            expected = self.model.report(controller, Word(generation, ready, error, self.now), id_)
        told = self.send("reports", says(controller, generation, ready=ready, failing=error, report_id=id_))
        assert Told(answers=(expected,)) == told, "a report is told to nobody"
        if self.model.row.phase in (phase, "Pending", "Progressing", "Ready"):
            assert schedule.next_reconcile_at == self.record.schedule.next_reconcile_at

    @born
    @rule(seconds=a_while)
    def tick(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        expected = self.model.tick(self.now)
        told = self.send("ticks", None)
        assert [e for e in [expected] if e] == [(event.reason, event.interval) for event, _ in told.events]

    @rule(seconds=a_while)
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    # --- input that comes again -----------------------------------------------------------------------

    @born
    @rule(pick=st.integers(0, 100))
    def a_client_repeats_a_command(self, pick: int) -> None:
        """The same id in a new record: answered as at first, and nothing else."""
        sent = [d for d in self.history if isinstance(d.input.what, Command) and _remembered(d)]
        first = sent[pick % len(sent)]
        before = self.record
        told = self.send("commands", first.input.what)
        assert Told(answers=first.told.answers) == told
        assert before == self.record

    @born
    @rule(lost=st.integers(0, 8), seen=st.integers(0, 8))
    def input_is_delivered_again(self, lost: int, seen: int) -> None:
        """From an uncommitted offset on: `seen` inputs that the state reflects, then `lost` ones.

        What changed nothing has left no mark, to save a write, and is decided anew: left out here.
        """
        lost = min(lost, len(self.history))
        again = self.history[-lost - seen :] if lost + seen else []
        record = self.history[-lost].before if lost else self.record
        for number, delivery in enumerate(again, -len(again)):
            if number < -lost and not delivery.marked:
                continue
            record, told = deliver(record, delivery.input)
            if number < -lost:
                assert () == told.events, "what the state holds is not told again"
            else:
                assert delivery.told == told, "what was lost is told alike, to the byte"
        assert record == self.record

    # --- what holds after each step -------------------------------------------------------------------

    @invariant()
    def it_is_what_the_contract_says(self) -> None:
        if self.record is None or self.model is None:
            return
        cluster, model = self.record.cluster, self.model
        assert (model.generation, model.versions[-1]) == (cluster.generation, cluster.resource_version)
        assert (model.born, model.moved_at) == (cluster.created_at, cluster.updated_at)
        assert model.deleted_at == self.record.deleted_at
        assert model.row == said(cluster.status)
        assert [model.turned_at] * 2 == [c.lastTransitionTime for c in cluster.status.conditions]
        assert {n: w.generation for n, w in model.words.items()} == {
            n: report.observed_generation for n, report in self.record.reports.items()
        }

    @invariant()
    def the_status_is_never_older_than_its_inputs(self) -> None:
        if self.record is None or self.record.deleted_at is not None:
            return
        status = self.record.cluster.status
        assert self.record.cluster.generation == status.observedGeneration
        assert all(report.last_updated <= status.lastUpdateTime for report in counted(self.record))
        assert len(self.model.counted()) == len(counted(self.record))

    @invariant()
    def every_accepted_write_is_told_once(self) -> None:
        events = [event for delivery in self.history for event, _ in delivery.told.events]
        bodies = [body for delivery in self.history for _, body in delivery.told.events]
        assert len(bodies) == len(set(bodies))
        writes = [e for e in events if not isinstance(e, Reconciled) or e.reason == "manual_trigger"]
        assert len(writes) == (self.model.accepted if self.model else 0)

    @invariant()
    def generations_have_no_gap(self) -> None:
        told = [
            after.cluster.generation
            for delivery, after in zip(self.history, self._records(), strict=True)
            if any(isinstance(event, Created | Updated) for event, _ in delivery.told.events)
        ]
        assert list(range(1, len(told) + 1)) == told

    def _records(self) -> list[Any]:
        return [*(delivery.before for delivery in self.history[1:]), self.record]

    @invariant()
    def the_clock_does_not_lose_it(self) -> None:
        if self.record is None or self.model is None or self.model.deleted_at is not None:
            return
        moment = reconciles_at(self.record, POLICY)
        assert moment is not None
        assert moment <= max(self.now, self.model.announced_by()), "the next tick would pass it by"
        interval = timedelta(seconds=30) if self.model.needs_attention(self.now) else timedelta(minutes=5)
        if self.record.schedule.last_reconciled_at is not None:
            assert self.record.schedule.next_reconcile_at <= self.now + interval


def _unsealed(record: ClusterState, like: ClusterState) -> ClusterState:
    """A record without the marks that a remembered refusal leaves on it."""
    return replace(record, revision=like.revision, offsets=like.offsets, recent=like.recent)


def _remembered(delivery: Delivery) -> bool:
    """Whether a command's outcome is kept with the cluster: not if its sender was told that there is none."""
    ((code, _),) = delivery.told.answers
    return code is None or (delivery.before is not None and code != "RESOURCE_NOT_FOUND")


Life.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
TestLife = Life.TestCase
