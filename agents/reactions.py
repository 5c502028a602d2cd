"""The commands that events of one kind send to another.

They are published in the turn of the event, so they are as durable as the event. The id of a command derives
from its cause, so a replay sends the same command again, and the other kind answers it from memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

from agents import scaling
from agents.companions import question
from agents.entity import Reaction
from domain import address, droplet, job, task
from domain.ids import deterministic_id
from domain.members import FULL, NOT_FOUND, Join, Leave, MembersState, Note
from domain.members import Changed as MembersChanged
from domain.resource import Changed, ResourceState
from domain.work import ENDED
from streams.cause import Cause
from streams.flow import Flow
from streams.job_metrics import PROCESSED
from streams.writing.outputs import Output

ACTIONS: Final[Mapping[str, str]] = {
    "created": "process_new_resource",
    "updated": "reprocess_resource",
    "deleted": "cleanup_resource",
}

NO_ADDRESS: Final = "No address is free"


def reactions_of(
    flows: Mapping[str, Flow[Any, Any, Any]], *, accepted: str
) -> Mapping[str, Sequence[Reaction]]:
    """By kind, what its events lead to.

    Args:
        flows: Those of a deployment, by kind.
        accepted: The topic of commands to clusters that no client writes.
    """
    return {
        "resource": (partial(start_task, flows["task"]),),
        "droplet": (partial(ask_address, flows["address"]), partial(tell_members, flows["members"])),
        "members": (
            partial(ask_cluster, accepted),
            partial(tell_droplets, flows["droplet"]),
            partial(scale, flows["droplet"]),
            partial(scaling.count, flows["autoscaler"]),
        ),
        "scaling": (partial(scaling.tell_autoscaler, flows["autoscaler"]),),
        "autoscaler": (
            partial(scaling.ask_cluster, accepted),
            partial(scaling.drop_policies, flows["scaling"]),
            partial(scaling.act, flows["members"], flows["samples"]),
        ),
        "samples": (partial(scaling.evaluate, flows["autoscaler"]),),
        "job": (count_job,),
        "address": (partial(answer_droplet, flows["droplet"], flows["address"]),),
    }


def start_task(
    tasks: Flow[Any, Any, Any], event: Changed, after: ResourceState, cause: Cause
) -> Iterator[Output]:
    """Start a task for a resource that has changed (resources contract, section 4)."""
    resource_id = event.resource.id
    source = cause.id if _is_uuid(cause.id) else deterministic_id("resource", resource_id, cause.id)
    of = resource_id if event.how == "created" and after.version == 1 else source
    id = f"auto-{of}"
    if len(id) > task.MAX_WORDS:
        id = f"auto-{deterministic_id(of)}"
    action = ACTIONS[event.how]
    start = task.Start(
        id=id,
        command_id=deterministic_id(source, action),
        resource_id=resource_id,
        action=action,
        source=source,
    )
    yield tasks.following(start, cause)


def ask_address(
    addresses: Flow[Any, Any, Any], event: droplet.Changed, after: droplet.DropletState, cause: Cause
) -> Iterator[Output]:
    """Ask for the address of a droplet, or give it back (operations contract, section 5)."""
    holder, block = event.droplet.id, event.block
    match event.how:
        case "asked":
            id = deterministic_id(cause.id, "take", block)
            yield addresses.following(
                address.Take(id=block, command_id=id, holder=holder, others=event.others), cause
            )
        case _ if event.address:
            id = deterministic_id(cause.id, "release", event.address)
            release = address.Release(id=block, command_id=id, holder=holder, address=event.address)
            yield addresses.following(release, cause)


def answer_droplet(
    droplets: Flow[Any, Any, Any],
    addresses: Flow[Any, Any, Any],
    event: address.Changed,
    after: address.BlockState,
    cause: Cause,
) -> Iterator[Output]:
    """Give a droplet its address, ask the next block for one, or say that there is none."""
    holder, block = event.holder, event.block.id
    id = deterministic_id(cause.id, holder, event.how)
    match event.how:
        case "taken":
            given = droplet.Activate(id=holder, command_id=id, address=event.address, block=block)
            yield droplets.following(given, cause)
        case "full" if event.ask is not None:
            again = address.Take(id=event.ask, command_id=id, holder=holder, others=event.others)
            yield addresses.following(again, cause)
        case "full":
            yield droplets.following(droplet.Fail(id=holder, command_id=id, reason=NO_ADDRESS), cause)


def tell_members(
    members: Flow[Any, Any, Any], event: droplet.Changed, after: droplet.DropletState, cause: Cause
) -> Iterator[Output]:
    """Have a droplet be among those of its cluster while it exists, and they know whether it is active."""
    cluster_id, id = event.droplet.cluster_id, event.droplet.id
    if cluster_id is None:
        return
    command_id = deterministic_id(cause.id, id, event.how)
    match event.how:
        case "created":
            yield members.following(Join(id=cluster_id, command_id=command_id, droplet=id), cause)
        case "updated":
            active = event.droplet.status == "active"
            note = Note(id=cluster_id, command_id=command_id, droplet=id, active=active)
            yield members.following(note, cause)
        case "deleted":
            yield members.following(Leave(id=cluster_id, command_id=command_id, droplet=id), cause)


def ask_cluster(accepted: str, event: MembersChanged, after: MembersState, cause: Cause) -> Iterator[Output]:
    """Ask the agent of clusters whether there is one of this id."""
    if event.how != "asked":
        return
    cluster_id = event.members.id
    yield question(accepted, cluster_id, deterministic_id(cause.id, cluster_id), cause)


def tell_droplets(
    droplets: Flow[Any, Any, Any], event: MembersChanged, after: MembersState, cause: Cause
) -> Iterator[Output]:
    """Have the droplets of a cluster go with it, and fail those that name one that there is not."""
    if event.how not in ("deleted", "closed", "refused"):
        return
    reason = {"closed": NOT_FOUND, "refused": FULL}.get(event.how)
    for id in event.droplets:
        command_id = deterministic_id(cause.id, id, event.how)
        if reason is None:
            yield droplets.following(droplet.Delete(id=id, command_id=command_id), cause)
        else:
            yield droplets.following(droplet.Fail(id=id, command_id=command_id, reason=reason), cause)


def count_job(event: job.Changed, after: job.JobState, cause: Cause) -> Sequence[Output]:
    """Count the jobs that have ended; nobody is told."""
    if event.how in ENDED:
        PROCESSED.labels(event.job.type, event.how).inc()
    return ()


def scale(
    droplets: Flow[Any, Any, Any], event: MembersChanged, after: MembersState, cause: Cause
) -> Iterator[Output]:
    """Make the droplets that a cluster grows by, and delete those that it shrinks by."""
    if event.how not in ("grown", "shrunk"):
        return
    for number, id in enumerate(event.droplets, 1):
        command_id = deterministic_id(cause.id, id, event.how)
        if event.how == "shrunk":
            yield droplets.following(droplet.Delete(id=id, command_id=command_id), cause)
            continue
        create = droplet.Create(
            id=id,
            command_id=command_id,
            name=f"scaled-droplet-{event.at:%Y%m%d%H%M%S}-{number}",
            region=event.region,
            image=droplet.SCALED_IMAGE,
            cluster_id=event.members.id,
        )
        yield droplets.following(create, cause)


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
