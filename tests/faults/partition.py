"""A partition in memory that outlives its workers."""

import json
from contextlib import suppress
from datetime import timedelta

from streams.writing.outputs import Output
from tests.domain.given import OWNER, uuid
from tests.memory import TOPICS, CrashedError, Log, Worker

CLUSTER, DELETE = uuid(1), uuid(2)


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
        while self.worker.take_turn("clusters", at_most=100):
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
