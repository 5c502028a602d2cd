"""The cluster agent over a log in memory, with random clients, crashes at every line and redeliveries.

The log, the tables and the producer are small fakes of what Kafka promises; the agent is the real one. A
crash strikes after any number of published records: memory is lost, what is in the log stays, and input is
delivered again from the last committed offset. Whatever happens, these hold:

- generations of a cluster's events are 1, 2, 3, … without gap or repeat (repeated events keep their id);
- every command has one outcome, however often it is answered, and web is answered by states and results;
- no owner ever has two live clusters of one name, and a name is held by its live cluster only;
- a stored status is the one its inputs add up to;
- nothing is due that the clock would not find, and in the end every live cluster is reconciled;
- delivering the last input again changes nothing (but may bring a reconcile that is due anyway forward).
"""

import json
import logging
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from faust.types import TP
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domain.cluster.schedule import due, reconciles_at
from domain.cluster.state import ClusterState, counted
from domain.cluster.status import aggregate
from domain.values import replace
from streams.cluster.codec import decode_name, decode_record
from streams.headers import ANSWERED_BY, ANSWERS, BY_REST, BY_STATE, TRIGGERED_BY
from streams.kafka.partitions import partition_of
from streams.writing.outputs import Output
from tests.domain.given import uuid
from tests.memory import KAFKA, POLICY, TOPICS, CrashedError, Log, Worker

OWNERS = ("a@example.com", "b@example.com")
AHEAD = [timedelta(0), timedelta(minutes=1), timedelta(minutes=40), timedelta(hours=3), timedelta(days=1)]

few = st.integers(0, 5)
owners = st.sampled_from(OWNERS)
by = st.sampled_from([*OWNERS, "ops@system.local"])
specs = st.sampled_from(
    [{"platform": {"type": "gcp"}}, {"platform": {"type": "aws"}, "x": [1]}, {"platform": {"type": "nope"}}]
)
turns = st.sampled_from(["clusters", "clusters", "names alone", "clusters alone"])
misplaced = st.sampled_from([None, None, None, 0, 1])


@dataclass
class Watcher:
    """What the world has seen so far: folds the output topics, and checks each thing as it comes."""

    log: Log
    states: dict[str, ClusterState] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    generations: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    outcomes: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    web: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What web has sent, and never again: cluster and kind of command by the command's id."""
    asked: set[tuple[str, str]] = field(default_factory=set)
    """What clients have sent over Kafka: cluster and id of each command."""

    _positions: dict[TP, int] = field(default_factory=dict)

    def look(self) -> None:
        for record in self.log.since(self._positions, TOPICS.events):
            self._event(json.loads(record.value))
        for record in self.log.since(self._positions, TOPICS.results):
            body = json.loads(record.value)
            self._outcome(self.outcomes[record.key.decode(), body["command_id"]], body["outcome"])
        for record in self.log.since(self._positions, TOPICS.state):
            self._state(record.key.decode(), record.value)
            self._answers(record)
        for record in self.log.since(self._positions, TOPICS.names):
            self.names.pop(record.key.decode(), None)
            if record.value is not None and (name := decode_name(record.value)).held:
                self.names[record.key.decode()] = name.cluster_id

    def _answers(self, record: ConsumerRecord) -> None:
        """A state answers the command that led to it, and shows what that has asked for."""
        for command_id in (value.decode() for name, value in record.headers if name == ANSWERS):
            cluster, kind = self.web[command_id]
            assert cluster == record.key.decode()
            state = self.states[cluster]
            assert (kind == "delete") == (state.deleted_at is not None)
            assert kind == "delete" or state.cluster.spec["sent"] == command_id
            self._outcome(self.outcomes[cluster, command_id], "applied")

    def every_command_has_an_outcome(self) -> None:
        for cluster, command_id in self.asked:
            assert self.outcomes[cluster, command_id], "unanswered"

    def every_write_of_web_has_one_outcome(self) -> None:
        for command_id, (cluster, _) in self.web.items():
            outcomes = self.outcomes[cluster, command_id]
            assert outcomes, "unanswered"
            assert "rejected" not in outcomes or "applied" not in outcomes, "a refusal has left a trace"

    def live(self) -> dict[str, str]:
        """The live clusters by owner and name."""
        live = [r.cluster for r in self.states.values() if not r.deleted_at]
        named = {f"{c.created_by}/{c.name}": c.id for c in live}
        assert len(live) == len(named), "an owner has two live clusters of one name"
        return named

    def _event(self, event: dict[str, Any]) -> None:
        first = self.told.setdefault(event["id"], event)
        assert (first["cluster_id"], first["type"]) == (event["cluster_id"], event["type"])
        if event["type"] in ("cluster.created", "cluster.updated"):
            generations = self.generations[event["cluster_id"]]
            if event["id"] not in generations:
                assert len(generations) + 1 == event["generation"], "a gap or a repeat"
                generations[event["id"]] = event["generation"]

    def _outcome(self, seen: list[str], outcome: str) -> None:
        if "applied" in seen:
            assert outcome != "rejected", seen
        seen.append(outcome)

    def _state(self, key: str, value: bytes | None) -> None:
        if value is None:
            self.states.pop(key, None)
            self.generations.pop(key, None)  # purged: the id may be born again
            return
        self.states[key] = record = decode_record(value)
        assert record.cluster.generation == len(self.generations[key])
        if record.deleted_at is None:
            _check_status(record)
        for ahead in AHEAD:
            at = self.log.now + ahead
            moment = reconciles_at(record, POLICY)
            looked_at = moment is not None and moment <= at
            assert looked_at == (due(record, at, POLICY) is not None), "the clock looks at what is due alone"


def _check_status(record: ClusterState) -> None:
    status, reports = record.cluster.status, counted(record)
    expected = aggregate(
        record.cluster.generation,
        reports,
        first_report_at=record.first_report_at,
        previous=None,
        at=status.lastUpdateTime,
        policy=POLICY,
    )
    assert _words(expected) == _words(status)
    assert all(report.last_updated <= status.lastUpdateTime for report in reports)


class Story(RuleBasedStateMachine):
    """Clients, time, agents and crashes, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.committed: dict[TP, int] = {}
        self.worker = Worker(self.log, {}, commits=False)
        self.world = Watcher(self.log)
        self.ids = 0

    @initialize(clean=st.booleans())
    def begin(self, clean: bool) -> None:
        """Either clients misplace records or the worker crashes.

        A misplaced record is published again at each delivery, so after a crash perhaps twice, and the second
        may be decided otherwise: that is the price of a foreign partitioner.
        """
        self.clean = clean

    # --- clients --------------------------------------------------------------------------------

    def _new_id(self) -> str:
        self.ids += 1
        return uuid(1000 + self.ids)

    def _id(self, cluster: int) -> str:
        """One of the ids that clients choose, or a cluster that web has created."""
        made = [cluster for cluster, kind in self.world.web.values() if kind == "create"]
        return uuid(cluster) if cluster < 3 or not made else made[-cluster % len(made)]

    def _send(self, topic: str, key: str, body: Any, partition: int | None = None) -> None:
        value = body if isinstance(body, bytes) else json.dumps(body).encode()
        partition = partition if topic == TOPICS.ticks or not self.clean else None
        self.log.append(Output(topic, key.encode(), value, {}, partition=partition))

    def _command(self, kind: str, cluster: int, email: str, **members: Any) -> dict[str, Any]:
        return {
            "command_id": self._new_id(),
            "type": f"cluster.{kind}",
            "cluster_id": self._id(cluster),
            "user_email": email,
            "issued_at": "2030-01-01T00:00:00Z",
            **members,
        }

    @rule(cluster=few, owner=owners, name=st.sampled_from(["x", "y"]), spec=specs, where=misplaced)
    def create(self, cluster: int, owner: str, name: str, spec: Any, where: int | None) -> None:
        body = self._command("create", cluster, owner, name=name, spec=spec)
        self.world.asked.add((body["cluster_id"], body["command_id"]))
        self._send(TOPICS.create_requests, f"{owner}/{name}", body, where)

    @rule(owner=owners, name=st.sampled_from(["x", "y"]), here=st.booleans(), bad=st.booleans())
    def create_by_web(self, owner: str, name: str, here: bool, bad: bool) -> None:
        """Web draws an id in the partition of the name; an older one draws any."""
        key = f"{owner}/{name}"
        while True:
            cluster = self._new_id()
            place = partition_of(cluster.encode(), KAFKA.partitions)
            if here == (place == partition_of(key.encode(), KAFKA.partitions)):
                break
        spec = {"platform": {"type": "nope" if bad else "gcp"}}
        self._by_web(TOPICS.name_requests, key, cluster, "create", owner, name=name, spec=spec)

    @rule(cluster=few, owner=owners, expected=st.sampled_from([None, 1, 2]))
    def update_by_web(self, cluster: int, owner: str, expected: int | None) -> None:
        if (id := self._id(cluster)) in self.world.states:
            members = {} if expected is None else {"expected_generation": expected}
            spec = {"platform": {"type": "gcp"}}
            self._by_web(TOPICS.accepted_commands, id, id, "update", owner, spec=spec, **members)

    @rule(cluster=few, owner=owners, force=st.booleans())
    def delete_by_web(self, cluster: int, owner: str, force: bool) -> None:
        if (id := self._id(cluster)) in self.world.states:
            self._by_web(TOPICS.accepted_commands, id, id, "delete", owner, force=force)

    def _by_web(self, topic: str, key: str, cluster: str, kind: str, email: str, **members: Any) -> None:
        body = self._command(kind, 0, email, **members) | {"cluster_id": cluster}
        if "spec" in members:
            body["spec"]["sent"] = body["command_id"]
        self.world.web[body["command_id"]] = cluster, kind
        headers = {TRIGGERED_BY: BY_REST, ANSWERED_BY: BY_STATE}
        self.log.append(Output(topic, key.encode(), json.dumps(body).encode(), headers))

    @rule(cluster=few, email=by, spec=specs, expected=st.sampled_from([None, None, 1, 2]), where=misplaced)
    def update(self, cluster: int, email: str, spec: Any, expected: int | None, where: int | None) -> None:
        if self._id(cluster) not in self.world.states:
            return  # nothing remembers its refusal: delivered again after the create, it would be taken
        members = {} if expected is None else {"expected_generation": expected}
        body = self._command("update", cluster, email, spec=spec, **members)
        self._send(TOPICS.commands, self._id(cluster), body, where)

    @rule(cluster=few, email=by, force=st.booleans())
    def delete(self, cluster: int, email: str, force: bool) -> None:
        if self._id(cluster) in self.world.states:
            self._send(
                TOPICS.commands, self._id(cluster), self._command("delete", cluster, email, force=force)
            )

    @rule(cluster=few, email=by)
    def reconcile(self, cluster: int, email: str) -> None:
        if self._id(cluster) in self.world.states:
            self._send(TOPICS.commands, self._id(cluster), self._command("reconcile", cluster, email))

    @rule(
        cluster=few,
        controller=st.sampled_from(["dns", "net"]),
        generation=st.integers(1, 4),
        ready=st.booleans(),
        error=st.sampled_from([None, None, "Transient", "Fatal"]),
        report_id=st.none() | st.integers(1, 3),
        where=misplaced,
    )
    def report(
        self,
        cluster: int,
        controller: str,
        generation: int,
        ready: bool,
        error: str | None,
        report_id: int | None,
        where: int | None,
    ) -> None:
        if self._id(cluster) not in self.world.states:
            return
        body = {
            "cluster_id": self._id(cluster),
            "controller_name": controller,
            "observed_generation": generation,
            "conditions": [{"type": "Available", "status": "True" if ready else "False"}],
            "last_error": error and {"errorType": error, "message": "m"},
        }
        if report_id is not None:
            body["report_id"] = uuid(report_id)
        self._send(TOPICS.reports, self._id(cluster), body, where)

    @rule(
        topic=st.sampled_from([TOPICS.create_requests, TOPICS.commands, TOPICS.reports]),
        pick=st.integers(0, 50),
    )
    def repeat(self, topic: str, pick: int) -> None:
        """A client publishes one of its records again.

        Admitted creates are among the commands. They are gone from their topic when their cluster is purged,
        both after a week, and would make it again without its name.
        """
        log = [r for p in range(KAFKA.partitions) for r in self.log.records[TP(topic, p)]]
        if topic == TOPICS.commands:
            kept_since = (self.log.now - POLICY.delete_retention).timestamp() * 1000
            log = [r for r in log if r.timestamp > kept_since]
        if log:
            record = log[pick % len(log)]
            headers = {name: value.decode() for name, value in record.headers}
            self.log.append(Output(topic, record.key, record.value, headers, partition=record.partition))

    @rule(
        topic=st.sampled_from([TOPICS.create_requests, TOPICS.commands, TOPICS.reports, TOPICS.ticks]),
        cluster=few,
    )
    def garbage(self, topic: str, cluster: int) -> None:
        self._send(topic, self._id(cluster), b'{"type":"cluster.update"')

    # --- time -----------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 20, 40, 100, 400, 2000, 8000]))
    def time_passes(self, seconds: int) -> None:
        self.commit()  # positions are committed twice a second
        self.log.now += timedelta(seconds=seconds)

    @rule()
    def tick(self) -> None:
        for partition in range(KAFKA.partitions):
            body = {"tick_id": self._new_id(), "at": self.log.now.isoformat()}
            self._send(TOPICS.ticks, str(partition), body, partition)

    # --- the worker -----------------------------------------------------------------------------

    @rule(
        agent=turns,
        at_most=st.sampled_from([1, 3, 100]),
    )
    def work(self, agent: str, at_most: int) -> None:
        self.worker.take_turn(agent, at_most=at_most)

    @rule()
    def work_on(self) -> None:
        self._work_off()

    @rule()
    def commit(self) -> None:
        self.committed = self.worker.committed = dict(self.worker.positions)

    @rule(
        agent=turns,
        lives=st.integers(0, 6),
    )
    def crash_at_work(self, agent: str, lives: int) -> None:
        self.worker.producer.lives = lives if self.clean else None
        try:
            self.worker.take_turn(agent, at_most=100)
        except CrashedError:
            pass
        if not self.clean:
            self.commit()
        self.worker = Worker(self.log, self.committed, commits=False)

    def _work_off(self) -> None:
        while self.worker.take_turn("clusters", at_most=100):
            self.world.look()

    # --- what always holds ----------------------------------------------------------------------

    @invariant()
    def what_the_world_sees_is_sound(self) -> None:
        self.world.look()
        self.world.live()

    def teardown(self) -> None:
        self._work_off()
        assert self.world.live() == self.world.names, (
            "names are held by their live clusters and by nobody else"
        )
        self.world.every_write_of_web_has_one_outcome()
        self.world.every_command_has_an_outcome()
        before = self._settled()
        if not self.clean:
            self.commit()
        self.worker = Worker(self.log, self.committed, commits=False)
        self._work_off()
        assert before == self._settled(), "the last input delivered again has changed something"
        self._every_live_cluster_is_reconciled_in_the_end()

    def _settled(self) -> Any:
        """What does not depend on when a tick comes: clusters, reports, outcomes, and what was told."""
        records = [(r.cluster, r.reports, r.deleted_at, r.recent) for r in self.world.states.values()]
        told = {e["id"] for e in self.world.told.values() if e.get("reason") in (None, "manual_trigger")}
        return sorted(records, key=lambda record: record[0].id), told

    def _every_live_cluster_is_reconciled_in_the_end(self) -> None:
        known = set(self.world.told)
        self.log.now += timedelta(minutes=6)
        for _ in range(3):  # the cap lets two through at a time
            self.tick()
            self._work_off()
        new = [event for event_id, event in self.world.told.items() if event_id not in known]
        told = {event["cluster_id"] for event in new if event["type"] == "cluster.reconcile"}
        assert set(self.world.live().values()) <= told


def _words(status: Any) -> Any:
    plain = replace(status, conditions=())
    return plain, [(c.type, c.status, c.reason, c.message) for c in status.conditions]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Thousands of dead letters are meant."""
    caplog.set_level(logging.CRITICAL, logger="clusterflow")


Story.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestAnyStory = Story.TestCase
