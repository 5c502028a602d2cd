"""A delete without force depends on reports of another topic: what is told once stands, whoever dies when."""

import json
from contextlib import suppress
from datetime import timedelta

import pytest

from streams.writing.outputs import Output
from tests.domain.given import OWNER, uuid
from tests.memory import TOPICS, CrashedError, Log, Worker

CLUSTER, DELETE = uuid(1), uuid(2)
FATAL = {"errorType": "Fatal", "message": "broken"}


class Partition:
    """One cluster in memory, and workers that come and go."""

    def __init__(self) -> None:
        self.log = Log()
        self.worker = Worker(self.log, {})
        body = {"name": "one", "spec": {"platform": {"type": "gcp"}}}
        self.send(TOPICS.create_requests, f"{OWNER}/one", type="cluster.create", command_id=uuid(9), **body)
        self.work()

    def send(self, topic: str, key: str, headers: dict[str, str] | None = None, **body: object) -> None:
        common = {"cluster_id": CLUSTER, "user_email": OWNER, "issued_at": "2030-01-01T00:00:00Z"}
        self.log.append(Output(topic, key.encode(), json.dumps({**common, **body}).encode(), headers or {}))

    def report(self, *, answer: bool = False, **members: object) -> None:
        self.log.now += timedelta(seconds=1)
        said = {"controller_name": "dns", "observed_generation": 1, **members}
        self.send(TOPICS.reports, CLUSTER, {"answer": "true"} if answer else None, **said)

    def work(self) -> None:
        while sum(self.worker.take_turn(agent, at_most=100) for agent in ("names", "clusters")):
            pass

    def crash_while_working(self, *, after: int) -> None:
        """Work until so many records were published, then die."""
        self.worker.producer.lives = after
        with suppress(CrashedError):
            self.work()

    def restart(self) -> None:
        """Another worker, which happens to take the reports first."""
        self.worker = Worker(self.log, self.committed)
        agent, topics = self.worker._agents["clusters"]
        self.worker._agents["clusters"] = (agent, tuple(reversed(topics)))

    def outcomes(self) -> set[str]:
        results = [json.loads(record.value) for record in self.log.since({}, TOPICS.results)]
        return {result["outcome"] for result in results if result["command_id"] == DELETE}

    def events(self) -> set[tuple[str, bytes]]:
        records = self.log.since({}, TOPICS.events)
        told = [(json.loads(record.value), record.value) for record in records]
        return {(body["id"], value) for body, value in told if body["type"] == "cluster.deleted"}


@pytest.mark.parametrize("lives", range(8))
@pytest.mark.parametrize(
    ("first", "later"),
    [
        pytest.param({"last_error": FATAL}, {"last_error": None}, id="allowed, then forbidden"),
        pytest.param(
            {"conditions": [{"type": "Available", "status": "True"}]},
            {"last_error": FATAL},
            id="forbidden, then allowed",
        ),
    ],
)
def test_a_delete_is_decided_once(first, later, lives):
    place = Partition()
    place.report(**first)
    place.work()
    place.committed = dict(place.worker.positions)
    place.send(TOPICS.commands, CLUSTER, type="cluster.delete", command_id=DELETE)
    place.crash_while_working(after=lives)
    told_before = place.outcomes()
    place.report(**later)
    place.restart()
    place.work()
    outcomes = place.outcomes()
    assert 1 == len(outcomes), "one answer, however often"
    assert told_before <= outcomes
    (record,) = place.worker.clusters.values()
    assert ("applied" in outcomes) == (record.deleted_at is not None) == (len(place.events()) == 1)
    names = [name.held for name in place.worker.names.values()]
    assert names == [record.deleted_at is None]
