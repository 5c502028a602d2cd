"""Section 6: of more clusters than a tick may announce, attention comes first, and nobody is stopped."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from domain.values import replace
from streams.cluster.codec import decode_record
from streams.json import encode
from streams.kafka.partitions import partition_of
from streams.writing.outputs import Output
from tests.domain.given import OWNER, uuid
from tests.memory import KAFKA, POLICY, TOPICS, Log, Worker

A, B, C = [
    uuid(number) for number in range(1, 50) if partition_of(uuid(number).encode(), KAFKA.partitions) == 0
][:3]


class Partition:
    """One partition of clusters beyond the attention age, in memory."""

    def __init__(self) -> None:
        self.log = Log()
        self.worker = Worker(self.log, {})
        self.sent = 1000

    def send(self, topic: str, key: str, **body: object) -> None:
        self.log.append(Output(topic, key.encode(), json.dumps(body).encode(), {}))
        self.work()

    def work(self) -> None:
        while self.worker.take_turn("clusters", at_most=100):
            pass

    def create(self, cluster_id: str) -> None:
        self.sent += 1
        ids = {"command_id": uuid(self.sent), "cluster_id": cluster_id, "user_email": OWNER}
        name = f"c{self.sent}"
        body = {"type": "cluster.create", "name": name, "spec": {"platform": {"type": "gcp"}}}
        self.send(TOPICS.create_requests, f"{OWNER}/{name}", **ids, **body, issued_at="2030-01-01T00:00:00Z")

    def report(self, cluster_id: str, available: str) -> None:
        conditions = [{"type": "Available", "status": available}]
        word = {"controller_name": "dns", "observed_generation": 1, "conditions": conditions}
        self.send(TOPICS.reports, cluster_id, cluster_id=cluster_id, **word)

    def tick(self, *, after: timedelta) -> list[str]:
        """The clusters that a tick announces."""
        self.log.now += after
        known = len(self.announced())
        self.sent += 1
        body = json.dumps({"tick_id": uuid(self.sent), "at": self.log.now.isoformat()}).encode()
        self.log.append(Output(TOPICS.ticks, b"0", body, {}, partition=0))
        self.work()
        return self.announced()[known:]

    def announced(self) -> list[str]:
        events = [json.loads(record.value) for record in self.log.since({}, TOPICS.events)]
        return [event["cluster_id"] for event in events if event["type"] == "cluster.reconcile"]


@pytest.fixture
def three() -> Partition:
    """Two ready clusters and, announced last of all, one whose controller has just begun."""
    partition = Partition()
    for cluster_id in (A, B, C):
        partition.create(cluster_id)
    assert [A, B] == partition.tick(after=timedelta(hours=3))
    assert [C] == partition.tick(after=timedelta(seconds=1))
    for cluster_id, available in ((A, "True"), (B, "True"), (C, "False")):
        partition.report(cluster_id, available)
    assert 2 == POLICY.reconcile_cap
    return partition


def test_the_oldest_come_first_among_equals_and_the_rest_stays_due(three):
    assert [A, B] == three.tick(after=timedelta(minutes=6))
    assert [C] == three.tick(after=timedelta(seconds=1))


def test_what_has_failed_comes_before_what_has_waited_longer(three):
    three.send(
        TOPICS.reports,
        C,
        cluster_id=C,
        controller_name="dns",
        observed_generation=1,
        last_error={"errorType": "Fatal", "message": "broken"},
    )
    assert [C, A] == three.tick(after=timedelta(minutes=6))


def test_what_fails_by_this_very_tick_comes_first_too(three):
    assert [C, A] == three.tick(after=timedelta(minutes=36))


def without_platform(row: bytes) -> bytes:
    record = decode_record(row)
    return encode(replace(record, cluster=replace(record.cluster, spec={})))


@pytest.mark.parametrize("spoilt", [without_platform, lambda row: row[:-9]], ids=["no platform", "no JSON"])
def test_a_cluster_that_cannot_be_handled_stops_no_tick(three, spoilt: Callable[[bytes], bytes]):
    rows = three.worker.clusters.rows(0)
    rows[A.encode()] = spoilt(rows[A.encode()])
    assert [B, C] == three.tick(after=timedelta(minutes=6))
    assert [B, C] == three.tick(after=timedelta(minutes=6))
