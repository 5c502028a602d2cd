"""A purge waits until nothing that the state reflects can be delivered again."""

import json
from datetime import timedelta

from streams.writing.outputs import Output
from tests.domain.given import OWNER, uuid
from tests.memory import POLICY, TOPICS, Log, Worker

CLUSTER, CREATE, DELETE, AGAIN, TICK = uuid(1), uuid(2), uuid(3), uuid(4), uuid(5)
GCP = {"platform": {"type": "gcp"}}


def send(log: Log, topic: str, key: str, **body: object) -> None:
    common = {"cluster_id": CLUSTER, "user_email": OWNER, "issued_at": "2030-01-01T00:00:00Z"}
    log.append(Output(topic, key.encode(), json.dumps({**common, **body}).encode()))


def ask(log: Log, name: str, command_id: str) -> None:
    """A client's create."""
    topic, key = TOPICS.create_requests, f"{OWNER}/{name}"
    send(log, topic, key, type="cluster.create", command_id=command_id, name=name, spec=GCP)


def work(worker: Worker) -> None:
    while worker.take_turn("clusters", at_most=100):
        pass


def tick(log: Log) -> None:
    body = json.dumps({"tick_id": TICK, "at": log.now.isoformat()}).encode()
    for partition in range(2):
        log.append(Output(TOPICS.ticks, b"t", body, {}, partition))


def outcomes(log: Log, command_id: str) -> set[str]:
    results = [json.loads(record.value) for record in log.since({}, TOPICS.results)]
    return {result["outcome"] for result in results if result["command_id"] == command_id}


def deleted_and_asked_for_again() -> tuple[Log, Worker]:
    """A cluster whose retention is over, and a create that was refused because its id is taken."""
    log = Log()
    worker = Worker(log, {}, commits=False)
    send(
        log,
        TOPICS.create_requests,
        f"{OWNER}/one",
        type="cluster.create",
        command_id=CREATE,
        name="one",
        spec=GCP,
    )
    work(worker)
    send(log, TOPICS.commands, CLUSTER, type="cluster.delete", command_id=DELETE, force=True)
    work(worker)
    log.now += 2 * POLICY.delete_retention
    worker.committed = dict(worker.positions)
    send(
        log,
        TOPICS.create_requests,
        f"{OWNER}/two",
        type="cluster.create",
        command_id=AGAIN,
        name="two",
        spec=GCP,
    )
    work(worker)
    assert {"rejected"} == outcomes(log, AGAIN)
    return log, worker


def test_a_refused_create_stays_refused_if_it_comes_again_after_the_purge():
    # given a purge that is due before the refusal is committed
    log, worker = deleted_and_asked_for_again()
    tick(log)
    work(worker)

    # when the worker dies, and its successor is handed the create once more
    successor = Worker(log, worker.committed, commits=False)
    work(successor)

    # then it is refused as before
    assert {"rejected"} == outcomes(log, AGAIN)


def test_what_is_committed_is_purged():
    # given the same with everything committed
    log, worker = deleted_and_asked_for_again()
    worker.committed = dict(worker.positions)

    # when the next tick comes
    log.now += timedelta(seconds=2)
    tick(log)
    work(worker)

    # then the cluster is gone
    assert [] == worker.clusters.values()


def test_a_repeat_that_may_come_again_holds_the_purge_back():
    # given a deleted cluster whose retention is over, and a repeat of its delete that is not committed
    log = Log()
    worker = Worker(log, {}, commits=False)
    ask(log, "one", CREATE)
    work(worker)
    for _ in range(2):
        send(log, TOPICS.commands, CLUSTER, type="cluster.delete", command_id=DELETE, force=True)
        worker.committed = dict(worker.positions)
        work(worker)
    log.now += 2 * POLICY.delete_retention
    tick(log)
    work(worker)

    # when the worker dies, and its successor is handed the repeat once more
    work(Worker(log, worker.committed, commits=False))

    # then it is the delete that was done, as before
    assert {"applied", "duplicate"} == outcomes(log, DELETE)
