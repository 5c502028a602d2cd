"""What the events of one kind lead to in another."""

from datetime import UTC, datetime
from uuid import uuid4

import msgspec
import pytest

from agents.reactions import ACTIONS, start_task
from domain.policy import Policy
from domain.resource import Changed, Resource, ResourceState
from domain.task import Commands, Start
from streams.cause import Cause
from streams.task import task_flow

T0 = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
FLOW = task_flow(Policy())


def started(how, *, resource_id="r", cause_id=None):
    """The record and the command that a change of a resource leads to."""
    resource = Resource(
        id=resource_id, name="one", description="", status="active", created_at=T0, updated_at=T0
    )
    event = Changed(how, resource, T0)
    cause = Cause(cause_id or str(uuid4()), T0, {"traceparent": "00-1-2-01"})
    state = ResourceState(revision=1, version=1, resource=resource)
    (output,) = start_task(FLOW, event, state, cause)
    return output, msgspec.json.decode(output.value, type=Commands)


@pytest.mark.parametrize("how", ACTIONS)
def test_a_change_starts_a_task_that_is_named_after_it(how):
    cause_id = str(uuid4())
    output, start = started(how, cause_id=cause_id)
    assert isinstance(start, Start)
    of = "r" if how == "created" else cause_id
    assert (f"auto-{of}", "r", ACTIONS[how], cause_id) == (
        start.id, start.resource_id, start.action, start.source,
    )  # fmt: skip
    assert ("task.commands", start.id.encode()) == (output.topic, output.key)
    assert "00-1-2-01" == output.headers["traceparent"]


def test_a_replay_sends_the_same_command():
    cause_id = str(uuid4())
    assert started("updated", cause_id=cause_id) == started("updated", cause_id=cause_id)


def test_an_id_that_is_no_uuid_makes_one():
    """Kafka clients may give commands any ids; the source of a task is a UUID, and always the same."""
    (_, start), (_, again) = (started("updated", cause_id="my command") for _ in range(2))
    assert start == again
    assert "my command" not in start.id
    (_, other) = started("updated", resource_id="other", cause_id="my command")
    assert start.id != other.id


def test_the_longest_ids_have_room():
    _, start = started("created", resource_id="r" * 100, cause_id="c" * 100)
    assert len(start.id) <= 100
