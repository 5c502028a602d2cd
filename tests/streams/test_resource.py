"""Resources contract, section 6: what each change announces, and how the topics are kept."""

import json
import pickle
from datetime import timedelta
from types import SimpleNamespace

import pytest

from domain.policy import Policy
from domain.resource import Create, Delete, Update
from streams.cause import Cause
from streams.resource import resource_flow
from streams.topics import Topics
from tests.domain.given import T0

FLOW = resource_flow(Policy())
CREATE = Create(id="r", command_id="c", name="one")
UPDATE = Update(id="r", command_id="u", name="two", status="inactive")
DELETE = Delete(id="r", command_id="d")
MONTH = timedelta(days=30).total_seconds() * 1000


def announced(*commands):
    """What the last of some commands announces."""
    state, outputs = None, []
    for command in commands:
        (event,) = FLOW.kind.decide(state, command, T0)
        state = FLOW.kind.evolve(state, event).counted()
        cause = Cause(command.command_id, T0, {"traceparent": "00-1-2-01"})
        outputs = FLOW.announced([event], state, cause, producer="cls-backend")
    (output,) = outputs
    return output


@pytest.mark.parametrize(
    ("commands", "topic", "event_id", "status"),
    [
        pytest.param([CREATE], "resource.created", "c", "active", id="a create"),
        pytest.param([CREATE, UPDATE], "resource.updated", "u", "inactive", id="an update"),
        pytest.param([CREATE, UPDATE, DELETE], "resource.deleted", "d", "deleted", id="a delete"),
    ],
)
def test_each_change_is_one_record_of_its_topic(commands, topic, event_id, status):
    output = announced(*commands)

    assert (topic, b"r", status) == (output.topic, output.key, json.loads(output.value)["status"])
    assert {
        "event_id": event_id,
        "event_type": topic,
        "aggregate_version": str(len(commands)),
        "occurred_at": T0.isoformat().replace("+00:00", "Z"),
        "schema_version": "1",
        "producer": "cls-backend",
        "traceparent": "00-1-2-01",
    } == output.headers


def test_values_are_the_whole_resource_and_what_is_left_of_a_deleted_one():
    members = {"id", "name", "description", "status", "created_at", "updated_at"}
    assert members == json.loads(announced(CREATE, UPDATE).value).keys()
    assert {"id": "r", "status": "deleted"} == json.loads(announced(CREATE, DELETE).value)


def test_commands_and_announcements_are_kept_for_a_month():
    specs = {spec.name: spec for spec in Topics().all()}
    for name in (FLOW.commands, *FLOW.public):
        assert float(specs[name].config["retention.ms"]) >= MONTH
    assert "compact" == specs[FLOW.state].config["cleanup.policy"]
    assert specs[FLOW.commands].partitions == specs[FLOW.state].partitions


def test_a_flow_goes_to_another_process_after_it_has_read():
    # given a flow that has made its decoders
    flow = resource_flow(Policy())
    assert flow.decode
    assert flow.read(command_record(flow))

    # when it is sent
    arrived = pickle.loads(pickle.dumps(flow))

    # then it says and reads the same
    assert arrived.topics == flow.topics
    assert arrived.read(command_record(flow)) == flow.read(command_record(flow))


def command_record(flow):
    output = flow.command(Delete(id="r", command_id="c"), {})
    return SimpleNamespace(key=output.key, value=output.value, headers=[], timestamp=0)
