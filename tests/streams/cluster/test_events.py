"""The envelope of events: identities that a replay repeats."""

import json
from datetime import timedelta

import pytest

from domain.cluster.events import Created, Reconciled, Updated
from domain.values import replace
from streams.cluster.events import event_output
from tests.domain.given import T0, after, create, says, step, story, update


def told(event, before, record, cause, source="clusterflow"):
    return event_output("events", 3, event, before=before, after=record, cause=cause, source=source)


def test_a_replay_tells_the_same_to_the_byte():
    command = create()
    record, (event,) = step(None, command, T0)
    assert told(event, None, record, command) == told(event, None, record, command)


def test_identities_differ_by_cluster_type_generation_and_cause():
    born = story((create(), T0))
    other = story((create(cluster_id="00000000-0000-4000-8000-0000000000ff"), T0))
    updated = story((create(), T0), (update(), T0))
    reconcile = Reconciled(reason="r", scheduled_by="reconciliation_scheduler", interval=timedelta(30), at=T0)
    command = create()
    (created,) = step(None, command, T0)[1]
    outputs = [
        told(created, None, born, command),
        told(created, None, other, command),
        told(reconcile, born, born, command.command_id),
        told(reconcile, born, born, "other cause"),
        told(reconcile, updated, updated, command.command_id),
    ]
    assert len(outputs) == len({json.loads(output.value)["id"] for output in outputs})


def test_an_event_goes_to_its_cluster_s_partition_under_its_key():
    command = create()
    record, (event,) = step(None, command, T0)
    output = told(event, None, record, command)
    assert isinstance(event, Created)
    assert ("events", record.cluster.id.encode(), 3) == (output.topic, output.key, output.partition)


@pytest.mark.parametrize("cause", ["a command", "a tick"])
def test_an_event_names_the_service_it_is_from(cause):
    command = create()
    record, (event,) = step(None, command, T0)
    if cause == "a tick":
        event = Reconciled(reason="r", scheduled_by="reconciliation_scheduler", interval=timedelta(30), at=T0)
        output = told(event, record, record, "tick", source="cls-backend")
    else:
        output = told(event, None, record, command, source="cls-backend")
    assert ("cls-backend", "cls-backend") == (json.loads(output.value)["source"], output.headers["source"])


def test_status_and_reports_are_not_told():
    command = update()
    before = story((create(), T0), (says(ready=True), T0))
    record, (event,) = step(before, command, after(seconds=1))
    assert isinstance(event, Updated)
    body = json.loads(told(event, before, record, command).value)
    assert {"status", "reports", "schedule"}.isdisjoint(body["cluster"])


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"at": after(seconds=1)}, id="at another time"),
        pytest.param({"reason": "generation_mismatch"}, id="for another reason"),
        pytest.param({"interval": timedelta(minutes=5)}, id="with another interval"),
    ],
)
def test_what_a_tick_tells_otherwise_has_another_id(other):
    record = story((create(1), T0))
    event = Reconciled(
        reason="never_reconciled", scheduled_by="reconciliation_scheduler", interval=timedelta(0), at=T0
    )

    def id_of(event):
        return told(event, record, record, "tick").headers["event_id"]

    assert id_of(event) == id_of(replace(event))
    assert id_of(event) != id_of(replace(event, **other))
