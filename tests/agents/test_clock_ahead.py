"""A broker's clock that was ahead: ticks find what was written under it, and correct that."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import clock as clocks
from agents import wakes
from agents.names import MAX_REDELIVERED
from domain.cluster.believed import TOLERANCE, furthest
from domain.cluster.names import NameRecord
from domain.cluster.state import ClusterState, PendingAnnouncement, Reactive
from domain.entity import KEPT_FOR
from domain.policy import Policy
from domain.values import replace
from streams.json import encode
from streams.writing.outputs import Output
from tests.domain.given import CLUSTER_ID, GCP, OWNER, T0, create, delete, says, story, uuid
from tests.memory import TOPICS, Log, Worker

DAY = timedelta(days=1)
SLICE = 6
NORMAL = Policy(reconcile_cap=1000, reactive=True)


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch):
    for name, value in {"TICK_SLICE": SLICE, "MIN_PER_TICK": 2}.items():
        monkeypatch.setattr(clocks, name, value)
    monkeypatch.setattr(wakes, "INDEX_SLICE", 3)


class Broker:
    """A worker whose broker stamps records with the true time plus `ahead`."""

    def __init__(self, *clusters: ClusterState, policy: Policy = NORMAL) -> None:
        self.true = T0 + timedelta(hours=3)
        self.ahead = timedelta(0)
        self.policy = policy
        self.log = Log(now=self.true)
        for cluster in clusters:
            key = cluster.cluster.id.encode()
            self.log.append(Output(TOPICS.state, key, encode(cluster), {}, partition=0))
        self.worker = Worker(self.log, {}, policy)
        self.ticks = 0
        self._seen: dict[TP, int] = {}

    def passes(self, seconds: float) -> None:
        self.true += timedelta(seconds=seconds)

    def send(self, topic: str, body: dict[str, Any], key: str = CLUSTER_ID, **headers: str) -> None:
        self.log.now = self.true + self.ahead
        self.log.append(Output(topic, key.encode(), json.dumps(body).encode(), headers, partition=0))
        self.work()

    def tick(self, *, told: datetime | None = None, **members: Any) -> None:
        """A tick, and those that it asks for to go on with; `told`: what the ticker's clock says."""
        self.ticks += 1
        body = {"tick_id": uuid(self.ticks), "at": (told or self.true).isoformat(), **members}
        self.send(TOPICS.ticks, body, "0")
        while left := self.worker.clock.between(0).reconcile:
            self.send(TOPICS.ticks, {**body, "reconcile": left}, "0")
        self.worker.index()

    def work(self) -> None:
        while self.worker.take_turn("clusters", at_most=100):
            pass

    def update(self, number: int = 7) -> None:
        body = {"type": "cluster.update", "spec": {**GCP, "n": number}, **_command(self, number)}
        self.send(TOPICS.commands, body)

    def report(self, generation: int, *, ready: bool) -> None:
        available = {"type": "Available", "status": "True" if ready else "False"}
        body = {"controller_name": "dns", "observed_generation": generation, "conditions": [available]}
        self.send(TOPICS.reports, {"cluster_id": CLUSTER_ID, **body})

    def clusters(self) -> list[ClusterState]:
        return self.worker.clusters.values()

    def reconciled(self) -> set[str]:
        """Clusters that a scheduled reconcile was told of since the last call."""
        bodies = [json.loads(r.value) for r in self.log.since(self._seen, TOPICS.events)]
        scheduled = (b for b in bodies if b["metadata"].get("scheduled_by") == "reconciliation_scheduler")
        return {body["cluster_id"] for body in scheduled}


def _command(broker: Broker, number: int) -> dict[str, Any]:
    ids = {"command_id": uuid(10**4 + number), "cluster_id": CLUSTER_ID, "user_email": OWNER}
    return {**ids, "issued_at": broker.true.isoformat()}


def fleet(count: int, *steps: Any) -> list[ClusterState]:
    """Clusters that all have lived through these steps."""
    one = story((create(), T0), *steps)
    return [replace(one, cluster=replace(one.cluster, id=uuid(100 + n))) for n in range(count)]


def test_every_cluster_is_reconciled_within_its_interval_once_the_clock_is_right_again():
    # given more clusters than a slice, which ticks have reconciled tomorrow
    broker = Broker(*fleet(20, (says(ready=True), T0)))
    everyone = {cluster.cluster.id for cluster in broker.clusters()}
    broker.ahead = DAY
    broker.tick()
    assert everyone == broker.reconciled()

    # when the clock is right again, and two ticks have passed
    broker.ahead = timedelta(0)
    for _ in range(2):
        broker.passes(30)
        broker.tick()

    # then all were reconciled, and are again after the stable interval
    assert everyone == broker.reconciled()
    broker.passes(300)
    broker.tick()
    assert everyone == broker.reconciled()


def test_a_worker_that_starts_after_the_clock_was_set_right_finds_what_was_written_before():
    tomorrow = T0 + timedelta(hours=3) + DAY
    broker = Broker(*fleet(20, (says(ready=True), T0), (None, tomorrow)))
    for _ in range(2):
        broker.passes(30)
        broker.tick()
    assert 20 == len(broker.reconciled())


def test_a_status_that_failed_under_the_fast_clock_is_working_again():
    broker = Broker(*fleet(20, (says(ready=False), T0 + timedelta(hours=2, minutes=55))))
    broker.ahead = DAY
    broker.tick()
    assert {"Failed"} == {cluster.cluster.status.phase for cluster in broker.clusters()}
    broker.ahead = timedelta(0)
    for _ in range(2):
        broker.passes(30)
        broker.tick()
    assert {"Progressing"} == {cluster.cluster.status.phase for cluster in broker.clusters()}


def test_nothing_is_looked_at_while_the_clock_is_right():
    broker = Broker(*fleet(20, (says(ready=True), T0)))
    broker.send(TOPICS.ticks, {"tick_id": uuid(1), "at": broker.true.isoformat()}, "0")
    assert broker.worker.clock.indexed


def test_a_clock_that_is_behind_changes_no_record():
    broker = Broker(*fleet(20, (says(ready=True), T0), (None, T0 + timedelta(hours=3))))
    before = broker.clusters()
    broker.ahead = -DAY
    for _ in range(2):
        broker.tick()
    assert before == broker.clusters()


def test_no_cluster_is_purged_before_its_time_and_each_is_when_it_has_come():
    # given deleted clusters, the retention of which ends in an hour
    broker = Broker(*fleet(20, (delete(force=True), T0)))
    broker.true = T0 + NORMAL.delete_retention - timedelta(hours=1)

    # when the broker's clock is a day ahead for a tick: it asks for none of them again and again
    broker.ahead = DAY
    broker.tick()
    assert 20 == len(broker.clusters())

    # then they go in an hour, and not a day later
    broker.ahead = timedelta(0)
    broker.tick()
    assert 20 == len(broker.clusters())
    broker.passes(3600)
    broker.tick()
    assert [] == broker.clusters()


def test_a_cluster_is_purged_though_the_clock_of_its_worker_is_behind():
    broker = Broker(*fleet(3, (delete(force=True), T0)))
    broker.true = T0 + NORMAL.delete_retention
    behind = timedelta(minutes=10)
    broker.tick(told=broker.true - behind)
    assert 3 == len(broker.clusters())
    broker.passes(behind.total_seconds())
    broker.tick(told=broker.true - behind)
    assert [] == broker.clusters()


def test_a_change_that_waits_goes_out_with_a_regular_tick_though_nobody_asks_for_it():
    """Who asks goes by a worker's clock; that may be behind."""
    waiting = Reactive(
        last={"spec": T0}, waiting={"spec": PendingAnnouncement(reason="generation_increment", at=T0)}
    )
    broker = Broker(*[replace(cluster, reactive=waiting) for cluster in fleet(1)])
    broker.tick()
    assert {} == broker.clusters()[0].reactive.waiting


@pytest.mark.parametrize("at", ["yesterday", "2030-01-01T00:00:00", ""])
def test_a_tick_that_does_not_tell_its_time_is_parked(at):
    broker = Broker()
    broker.send(TOPICS.ticks, {"tick_id": uuid(1), "at": at}, "0")
    (parked,) = broker.log.since({}, f"{TOPICS.ticks}.dlq")
    assert "invalid_schema" in dict(parked.headers)["dlq_reason"].decode()


def test_a_freed_name_is_forgotten_a_day_after_though_its_refusals_were_stamped_by_a_fast_clock():
    # given a freed name with a refusal that is to stay for a year
    key = f"{OWNER}/x".encode()
    year = T0 + 365 * DAY
    name = NameRecord(
        cluster_id="", command_id="", offsets={TOPICS.name_requests: 0}, refused={uuid(1): year}
    )
    log = Log(now=T0)
    log.append(Output(TOPICS.names, key, encode(name), {}, partition=0))
    worker = Worker(log, {})

    def requests(count: int) -> None:
        for _ in range(count):
            log.append(Output(TOPICS.name_requests, b"k", b"{", {}, partition=0))
        while worker.take_turn("clusters", at_most=1000):
            pass

    # when so many requests have come that none before them is delivered again, and a day later as many
    requests(MAX_REDELIVERED + 2)
    assert {uuid(1): T0 + KEPT_FOR} == worker.names.get(0, key).refused
    log.now += KEPT_FOR
    requests(MAX_REDELIVERED + 2)

    # then it is gone
    assert worker.names.get(0, key) is None


doings = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 30, 200]),
        st.sampled_from(["tick", "update", "ready", "working", "restart"]),
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(before=doings, window=doings, afterwards=doings)
def test_whatever_happened_two_ticks_after_the_window_all_is_as_the_right_clock_says(
    before, window, afterwards
):
    broker = Broker(story((create(), T0)))
    number = 0
    for ahead_by, part in ((timedelta(0), before), (DAY, window), (timedelta(0), afterwards)):
        broker.ahead = ahead_by
        for seconds, what in part:
            number += 1
            broker.passes(seconds)
            _do(broker, what, number)
    for _ in range(2):
        broker.passes(30)
        broker.tick()

    (cluster,) = broker.clusters()
    assert furthest(cluster, NORMAL) <= broker.true + TOLERANCE
    broker.reconciled()
    broker.passes(NORMAL.stable_interval.total_seconds())
    broker.tick()
    assert {CLUSTER_ID} == broker.reconciled()
    (cluster,) = broker.clusters()
    assert cluster.reactive is None or not cluster.reactive.waiting
    broker.report(cluster.cluster.generation, ready=True)
    assert "Ready" == broker.clusters()[0].cluster.status.phase


def _do(broker: Broker, what: str, number: int) -> None:
    generation = broker.clusters()[0].cluster.generation
    match what:
        case "tick":
            broker.tick()
        case "update":
            broker.update(number)
        case "ready" | "working":
            broker.report(generation, ready=what == "ready")
        case "restart":
            broker.worker = Worker(broker.log, broker.worker.positions, broker.policy)
