"""What the events of one kind lead to in another."""

from datetime import UTC, datetime
from uuid import uuid4

import msgspec
import pytest
from prometheus_client import REGISTRY

from agents.reactions import ACTIONS, count_job, scale, start_task, tell_droplets, tell_members
from domain import droplet, job, members
from domain.policy import Policy
from domain.resource import Changed, Resource, ResourceState
from domain.task import Commands, Start
from domain.work import Work
from streams.cause import Cause
from streams.droplet import droplet_flow
from streams.members import FLOW as MEMBERS
from streams.task import task_flow

T0 = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
FLOW = task_flow(Policy())
DROPLETS = droplet_flow(Policy())
CAUSE = Cause("cause", T0)


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


# --- droplets, clusters and jobs ----------------------------------------------------------------------


def droplet_changed(how, status="active", cluster_id="k"):
    shown = droplet.Droplet(
        id="d", cluster_id=cluster_id, name="one", region="nyc3", size="s", image="i", status=status,
        created_at=T0, updated_at=T0,
    )  # fmt: skip
    event = droplet.Changed(how=how, droplet=shown, at=T0)
    return [*tell_members(MEMBERS, event, droplet.DropletState(revision=1, droplet=shown), CAUSE)]


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("created", "provisioning", {"type": "members.join"}),
        ("updated", "active", {"type": "members.note", "active": True}),
        ("updated", "inactive", {"type": "members.note", "active": False}),
        ("deleted", "active", {"type": "members.leave"}),
    ],
)
def test_a_cluster_learns_of_its_droplets(how, status, said):
    (output,) = droplet_changed(how, status)
    assert (b"k", {"id": "k", "droplet": "d"} | said) == (
        output.key,
        {name: value for name, value in msgspec.json.decode(output.value).items() if name != "command_id"},
    )


@pytest.mark.parametrize(("how", "cluster_id"), [("created", None), ("asked", "k"), ("returned", "k")])
def test_nobody_else_does(how, cluster_id):
    assert [] == droplet_changed(how, cluster_id=cluster_id)


def members_changed(how):
    shown = members.Members(id="k", droplets=("a",), created_at=T0, updated_at=T0)
    event = members.Changed(how=how, members=shown, at=T0, droplets=("b", "c"), region="nyc1")
    state = members.MembersState(revision=1, members=shown)
    outputs = [*scale(DROPLETS, event, state, CAUSE), *tell_droplets(DROPLETS, event, state, CAUSE)]
    return [msgspec.json.decode(output.value) for output in outputs]


@pytest.mark.parametrize(
    ("how", "type"),
    [
        ("grown", "droplet.create"),
        ("shrunk", "droplet.delete"),
        ("deleted", "droplet.delete"),
        ("closed", "droplet.fail"),
        ("refused", "droplet.fail"),
    ],
)
def test_droplets_learn_what_becomes_of_them_once(how, type):
    assert [(type, "b"), (type, "c")] == [(said["type"], said["id"]) for said in members_changed(how)]
    assert members_changed(how) == members_changed(how)


@pytest.mark.parametrize("how", ["asked", "joined", "left", "noted", "opened"])
def test_of_the_rest_they_learn_nothing(how):
    assert [] == members_changed(how)


def test_new_droplets_are_what_the_contract_says():
    first, second = members_changed("grown")
    stamp = f"{T0:%Y%m%d%H%M%S}"
    assert (f"scaled-droplet-{stamp}-1", f"scaled-droplet-{stamp}-2") == (first["name"], second["name"])
    assert ("nyc1", "ubuntu-22-04-x64", "k") == (first["region"], first["image"], first["cluster_id"])


@pytest.mark.parametrize(("how", "counted"), [("completed", 1), ("cancelled", 1), ("queued", 0)])
def test_jobs_are_counted_at_their_end(how, counted):
    shown = job.Job(
        id="j", cluster_id="k", type="scale", status="queued", progress=0, attempts=0,
        created_at=T0, updated_at=T0,
    )  # fmt: skip
    work = Work(queued_at=T0)
    before = processed(how)
    told = count_job(job.Changed(how, shown, work, T0), job.JobState(revision=1, job=shown, work=work), CAUSE)
    assert ((), counted) == (told, processed(how) - before)


def processed(how):
    labels = {"job_type": "scale", "status": how}
    return REGISTRY.get_sample_value("clustergenie_jobs_processed_total", labels) or 0
