"""Tasks on Kafka: what is announced, under which ids, and what executors are told."""

import json
from datetime import UTC, datetime, timedelta
from functools import reduce
from uuid import UUID

import pytest

from domain.policy import Policy
from domain.task import Claim, Complete, Create, Fail
from streams.cause import Cause
from streams.task import task_flow, task_queue

T0 = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
FLOW = task_flow(Policy())
CREATE = Create(id="t", command_id="c", resource_id="r", action="resize", metadata={"size": "large"})
CLAIM = Claim(id="t", command_id="k")
DONE = Complete(id="t", command_id="d", claim="k", result="done")
FAILED = Fail(id="t", command_id="f", claim="k", error="no luck", permanent=True)


def told(*commands, at=T0):
    """What a history of commands announces."""
    state, outputs = None, []
    for number, command in enumerate(commands):
        cause = Cause(command.command_id, at + timedelta(seconds=number), {"traceparent": "00-1-2-01"})
        events = FLOW.kind.decide(state, command, cause.at)
        state = reduce(FLOW.kind.evolve, events, state).counted()
        outputs += FLOW.announced(events, state, cause, producer="us")
    return outputs


def test_the_queue_and_the_end_are_announced_under_the_resource():
    queued, completed = told(CREATE, CLAIM, DONE)
    assert [("task.process", b"r"), ("task.completed", b"r")] == [
        (each.topic, each.key) for each in (queued, completed)
    ]
    same = {"task_id": "t", "resource_id": "r", "action": "resize"}
    assert {**same, "status": "pending", "metadata": {"size": "large"}} == json.loads(queued.value)
    assert {**same, "status": "completed", "result": "done"} == json.loads(completed.value)
    (_, failed) = told(CREATE, CLAIM, FAILED)
    assert ("task.failed", b"r") == (failed.topic, failed.key)
    assert {**same, "status": "failed", "error": "no luck"} == json.loads(failed.value)


def test_metadata_is_left_out_where_there_is_none():
    (queued,) = told(Create(id="t", command_id="c", resource_id="r", action="resize"))
    assert "metadata" not in json.loads(queued.value)


def test_the_ids_of_events_derive_from_what_asked_for_the_task():
    """A replay decides the same commands again, and an executor that comes late sends others."""
    first, again = told(CREATE, CLAIM, DONE), told(CREATE, CLAIM, DONE)
    assert first == again
    late = told(CREATE, CLAIM, Complete(id="t", command_id="other", claim="k", result="done"))
    ids = [[each.headers["event_id"] for each in outputs] for outputs in (first, late)]
    assert ids[0] == ids[1]
    assert 2 == len({UUID(id) for id in ids[0]})
    (other, *_) = told(Create(id="t", command_id="c2", resource_id="r", action="resize"))
    assert other.headers["event_id"] not in ids[0]


def test_the_trace_is_carried_on():
    assert {"00-1-2-01"} == {each.headers["traceparent"] for each in told(CREATE, CLAIM, DONE)}


def test_executors_find_task_and_line_in_a_record_of_the_queue():
    queue = task_queue(FLOW)
    (queued,) = told(CREATE)
    value = queue.message(**json.loads(queued.value))
    assert ("task.process", "t", "r") == (queue.flow.queue, queue.id_of(value), queue.key_of(value))


def test_its_topics_are_queue_and_announcements():
    topics = {topic.spec.name: topic for topic in FLOW.topics}
    assert ("recorder", "executor") == topics["task.process"].use.parks
    assert ("recorder",) == topics["task.completed"].use.parks
    assert "executor" in topics["task.process"].use.reads
    assert "executor" in topics["task.commands"].use.writes
    assert "executor" not in topics["task.completed"].use.reads


@pytest.mark.parametrize("topic", ["task.commands", "task.process", "task.completed", "task.failed"])
def test_commands_and_announcements_are_kept_for_a_month(topic):
    (found,) = [each.spec for each in FLOW.topics if each.spec.name == topic]
    assert timedelta(days=30) == found.retention
