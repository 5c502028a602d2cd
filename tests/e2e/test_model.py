"""Both agents over a log in memory, with random clients, crashes at every line and redeliveries.

The log, the tables and the producer are small fakes of what Kafka promises; the agents are the real ones. A
crash strikes after any number of published records: memory is lost, what is in the log stays, and input is
delivered again from the last committed offset. Whatever happens, these hold:

- generations of a cluster's events are 1, 2, 3, … without gap or repeat (repeated events keep their id);
- every command has one outcome, however often it is answered;
- no owner ever has two live clusters of one name, and a name is held by its live cluster only;
- a stored status is the one its inputs add up to;
- nothing is due that the clock would not find, and in the end every live cluster is reconciled;
- delivering the last input again changes nothing (but may bring a reconcile that is due anyway forward).
"""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from faust.types import TP
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agents.clusters import ClusterAgent
from agents.names import NameAgent
from domain.cluster.schedule import due, reconciles_at
from domain.cluster.state import ClusterState, counted
from domain.cluster.status import aggregate
from domain.policy import Policy
from domain.values import replace
from streams.cluster.codec import decode_name, decode_record
from streams.json import encode
from streams.kafka.partitions import partition_of
from streams.settings import KafkaSettings
from streams.topics import Topics
from streams.turns.batch import Batch
from streams.writing.outputs import Output, RecordPosition
from tests.domain.given import uuid
from tests.lanes import App, Record, Sent

START = datetime(2030, 1, 1, tzinfo=UTC)
POLICY = Policy(reconcile_cap=2, delete_retention=timedelta(hours=1))
KAFKA = KafkaSettings(bootstrap_servers="nowhere", topics=Topics(), partitions=2, replication=1)
TOPICS = KAFKA.topics
OWNERS = ("a@example.com", "b@example.com")
AHEAD = [timedelta(0), timedelta(minutes=1), timedelta(minutes=40), timedelta(hours=3), timedelta(days=1)]


class CrashedError(BaseException):
    """The process is gone; nothing may catch it."""


@dataclass
class Log:
    """Topics of records, as a broker keeps them."""

    records: dict[TP, list[ConsumerRecord]] = field(default_factory=lambda: defaultdict(list))
    now: datetime = START

    def append(self, output: Output) -> int:
        place = output.partition
        if place is None:
            place = partition_of(output.key or b"", KAFKA.partitions)
        log = self.records[TP(output.topic, place)]
        log.append(
            SimpleNamespace(  # type: ignore[arg-type]
                topic=output.topic,
                partition=place,
                offset=len(log),
                key=output.key,
                value=output.value,
                headers=[(name, text.encode()) for name, text in output.headers.items()],
                timestamp=int(self.now.timestamp() * 1000),
            )
        )
        return len(log) - 1

    def since(self, positions: dict[TP, int], topic: str) -> list[ConsumerRecord]:
        """The records of a topic beyond these positions, each partition in its order; moves the positions."""
        found: list[ConsumerRecord] = []
        for partition in range(KAFKA.partitions):
            tp = TP(topic, partition)
            found += self.records[tp][positions.get(tp, 0) :]
            positions[tp] = len(self.records[tp])
        return found


@dataclass
class MemoryProducer:
    """Publishes into the log; crashes after `lives` records."""

    log: Log
    lives: int | None = None

    async def begin(self, outputs: list[Output]) -> Sent:
        records = [Record(output) for output in outputs]
        for record in records:
            if self.lives is not None:
                if self.lives == 0:
                    raise CrashedError
                self.lives -= 1
            record.position = RecordPosition(record.output.partition or 0, self.log.append(record.output))
        return Sent(records)


class MemoryTable:
    """A table as agents see it, filled from its changelog."""

    def __init__(self, log: Log, changelog_topic: str, decode: Any) -> None:
        self.changelog_topic, self.decode, self.encode = changelog_topic, decode, encode
        self._rows: dict[int, dict[bytes, bytes]] = defaultdict(dict)
        self._callbacks: list[Any] = []
        for partition in range(KAFKA.partitions):
            for record in log.records[TP(changelog_topic, partition)]:
                self.store(partition, record.key, record.value, offset=record.offset)

    def get(self, partition: int, key: bytes) -> Any:
        data = self._rows[partition].get(key)
        return None if data is None else self.decode(data)

    def holds(self, partition: int, key: bytes) -> bool:
        return key in self._rows[partition]

    async def settle(self, partitions: Sequence[int]) -> None:
        """Nobody else writes."""

    def store(self, partition: int, key: bytes, data: bytes | None, *, offset: int) -> None:
        if data is None:
            self._rows[partition].pop(key, None)
        else:
            self._rows[partition][key] = data

    def ownership(self) -> Any:
        return lambda partition: {}

    def rows(self, partition: int) -> dict[bytes, bytes]:
        return self._rows[partition]

    def take_recovered(self) -> set[int]:
        return set(range(KAFKA.partitions))

    def on_recovered(self, callback: Any) -> None:
        self._callbacks.append(callback)

    def recovered(self) -> None:
        for callback in self._callbacks:
            callback()

    def values(self) -> list[Any]:
        return [self.decode(data) for rows in self._rows.values() for data in rows.values()]


class Worker:
    """One life of a worker process: tables recovered from the log, positions from what was committed."""

    def __init__(self, log: Log, committed: dict[TP, int], policy: Policy = POLICY) -> None:
        self.log, self.positions = log, dict(committed)
        self.producer = MemoryProducer(log)
        self.names = MemoryTable(log, TOPICS.names, decode_name)
        self.clusters = MemoryTable(log, TOPICS.state, decode_record)
        parts: dict[str, Any] = {"kafka": KAFKA, "producer": self.producer, "policy": policy}
        clusters = ClusterAgent(clusters=self.clusters, **parts)
        self._agents = {
            "names": (NameAgent(names=self.names, **parts), (TOPICS.create_requests, TOPICS.name_requests)),
            "clusters": (
                clusters,
                (TOPICS.commands, TOPICS.accepted_commands, TOPICS.reports, TOPICS.ticks),
            ),
        }
        self.names.recovered()
        self.clusters.recovered()
        self.clock = clusters.clock
        self.index()

    def index(self) -> None:
        """Let the clock look at all that was recovered."""
        while not self.clock.indexed:
            self.clock.index_recovered()

    def take_turn(self, agent: str, *, at_most: int) -> int:
        """Let an agent work off at most so many records of each partition; how many those were."""
        runner, topics = self._agents[agent]
        queue: asyncio.Queue[Any] = asyncio.Queue()
        count = 0
        for topic in topics:
            for partition in range(KAFKA.partitions):
                tp = TP(topic, partition)
                start = self.positions.get(tp, 0)
                if records := self.log.records[tp][start : start + at_most]:
                    count += len(records)
                    queue.put_nowait(self._event(Batch(tp, records), tp))
        _run(runner.run(_stream(queue)))
        return count

    def _event(self, batch: Batch, tp: TP) -> Any:
        def ack() -> None:
            self.positions[tp] = batch.next_offset

        return SimpleNamespace(value=batch, message=SimpleNamespace(generation_id=1), ack=ack)


def _run(coroutine: Any) -> None:
    """Nothing here ever waits, so no loop is needed."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("the agent waits for something")


def _stream(queue: asyncio.Queue[Any]) -> Any:
    """What Faust hands an agent, ending when the queue is empty."""

    async def get() -> Any:
        if queue.empty():
            raise StopAsyncIteration
        return queue.get_nowait()

    async def started() -> None:
        return None

    app = App()
    for agent in ("names", "clusters"):
        app.add(agent)
    channel = SimpleNamespace(queue=queue, get=get)
    return SimpleNamespace(app=app, channel=channel, maybe_start=started, should_stop=False)


few = st.integers(0, 2)
owners = st.sampled_from(OWNERS)
by = st.sampled_from([*OWNERS, "ops@system.local"])
specs = st.sampled_from(
    [{"platform": {"type": "gcp"}}, {"platform": {"type": "aws"}, "x": [1]}, {"platform": {"type": "nope"}}]
)
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
    _positions: dict[TP, int] = field(default_factory=dict)

    def look(self) -> None:
        for record in self.log.since(self._positions, TOPICS.events):
            self._event(json.loads(record.value))
        for record in self.log.since(self._positions, TOPICS.results):
            body = json.loads(record.value)
            self._outcome(self.outcomes[record.key.decode(), body["command_id"]], body["outcome"])
        for record in self.log.since(self._positions, TOPICS.state):
            self._state(record.key.decode(), record.value)
        for record in self.log.since(self._positions, TOPICS.names):
            self.names.pop(record.key.decode(), None)
            if record.value is not None and (name := decode_name(record.value)).held:
                self.names[record.key.decode()] = name.cluster_id

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
        self.worker = Worker(self.log, {})
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

    def _send(self, topic: str, key: str, body: Any, partition: int | None = None) -> None:
        value = body if isinstance(body, bytes) else json.dumps(body).encode()
        partition = partition if topic == TOPICS.ticks or not self.clean else None
        self.log.append(Output(topic, key.encode(), value, {}, partition=partition))

    def _command(self, kind: str, cluster: int, email: str, **members: Any) -> dict[str, Any]:
        return {
            "command_id": self._new_id(),
            "type": f"cluster.{kind}",
            "cluster_id": uuid(cluster),
            "user_email": email,
            "issued_at": "2030-01-01T00:00:00Z",
            **members,
        }

    @rule(cluster=few, owner=owners, name=st.sampled_from(["x", "y"]), spec=specs, where=misplaced)
    def create(self, cluster: int, owner: str, name: str, spec: Any, where: int | None) -> None:
        body = self._command("create", cluster, owner, name=name, spec=spec)
        self._send(TOPICS.create_requests, f"{owner}/{name}", body, where)

    @rule(cluster=few, email=by, spec=specs, expected=st.sampled_from([None, None, 1, 2]), where=misplaced)
    def update(self, cluster: int, email: str, spec: Any, expected: int | None, where: int | None) -> None:
        if uuid(cluster) not in self.world.states:
            return  # nothing remembers its refusal: delivered again after the create, it would be taken
        members = {} if expected is None else {"expected_generation": expected}
        body = self._command("update", cluster, email, spec=spec, **members)
        self._send(TOPICS.commands, uuid(cluster), body, where)

    @rule(cluster=few, email=by, force=st.booleans())
    def delete(self, cluster: int, email: str, force: bool) -> None:
        if uuid(cluster) in self.world.states:
            self._send(TOPICS.commands, uuid(cluster), self._command("delete", cluster, email, force=force))

    @rule(cluster=few, email=by)
    def reconcile(self, cluster: int, email: str) -> None:
        if uuid(cluster) in self.world.states:
            self._send(TOPICS.commands, uuid(cluster), self._command("reconcile", cluster, email))

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
        if uuid(cluster) not in self.world.states:
            return
        body = {
            "cluster_id": uuid(cluster),
            "controller_name": controller,
            "observed_generation": generation,
            "conditions": [{"type": "Available", "status": "True" if ready else "False"}],
            "last_error": error and {"errorType": error, "message": "m"},
        }
        if report_id is not None:
            body["report_id"] = uuid(report_id)
        self._send(TOPICS.reports, uuid(cluster), body, where)

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
        self._send(topic, uuid(cluster), b'{"type":"cluster.update"')

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

    @rule(agent=st.sampled_from(["names", "clusters"]), at_most=st.sampled_from([1, 3, 100]))
    def work(self, agent: str, at_most: int) -> None:
        self.worker.take_turn(agent, at_most=at_most)

    @rule()
    def work_on(self) -> None:
        self._work_off()

    @rule()
    def commit(self) -> None:
        self.committed = dict(self.worker.positions)

    @rule(agent=st.sampled_from(["names", "clusters"]), lives=st.integers(0, 6))
    def crash_at_work(self, agent: str, lives: int) -> None:
        self.worker.producer.lives = lives if self.clean else None
        try:
            self.worker.take_turn(agent, at_most=100)
        except CrashedError:
            pass
        if not self.clean:
            self.commit()
        self.worker = Worker(self.log, self.committed)

    def _work_off(self) -> None:
        while sum(self.worker.take_turn(agent, at_most=100) for agent in ("names", "clusters")):
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
        before = self._settled()
        if not self.clean:
            self.commit()
        self.worker = Worker(self.log, self.committed)
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
