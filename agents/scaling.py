"""The commands by which policies scale clusters: between policies, autoscalers, samples and members.

policy ──put, drop──▶ autoscaler ──bound──▶ members ──count──▶ autoscaler
autoscaler (due) ──tell──▶ samples ──evaluate──▶ autoscaler ──scale──▶ members
"""

from collections.abc import Iterator
from typing import Any, Final

from agents.companions import question
from domain import autoscaler, samples, scaling
from domain.autoscale import bounds_of
from domain.ids import deterministic_id
from domain.measures import known
from domain.members import Bound, MembersState, Scale
from domain.members import Changed as MembersChanged
from streams.cause import Cause
from streams.flow import Flow
from streams.writing.outputs import Output

AnyFlow = Flow[Any, Any, Any]

REGION: Final = "nyc1"
"""Of a droplet that makes a cluster larger which is in no region."""


def tell_autoscaler(
    autoscalers: AnyFlow, event: scaling.Changed, after: scaling.ScalingState, cause: Cause
) -> Iterator[Output]:
    """Have the autoscaler of its cluster know a policy while it exists."""
    policy = event.policy
    id = deterministic_id(cause.id, policy.id, event.how)
    if event.how == "deleted":
        drop = autoscaler.Drop(id=policy.cluster_id, command_id=id, policy_id=policy.id)
        yield autoscalers.following(drop, cause)
    else:
        yield autoscalers.following(autoscaler.Put(id=policy.cluster_id, command_id=id, policy=policy), cause)


def ask_cluster(
    accepted: str, event: autoscaler.Changed, after: autoscaler.AutoscalerState, cause: Cause
) -> Iterator[Output]:
    """Ask the agent of clusters whether there is one of this id."""
    if event.how != "asked":
        return
    cluster_id = event.autoscaler.id
    yield question(accepted, cluster_id, deterministic_id(cause.id, cluster_id, "autoscaler"), cause)


def drop_policies(
    policies: AnyFlow, event: autoscaler.Changed, after: autoscaler.AutoscalerState, cause: Cause
) -> Iterator[Output]:
    """Delete the policies of a cluster that there is not, and one that is unwanted."""
    match event.how:
        case "closed":
            gone = [policy.id for policy in event.autoscaler.policies]
        case "unwanted":
            gone = [event.policy_id]
        case _:
            return
    for id in gone:
        command_id = deterministic_id(cause.id, id, event.how)
        yield policies.following(scaling.Delete(id=id, command_id=command_id), cause)


def act(
    members: AnyFlow,
    told: AnyFlow,
    event: autoscaler.Changed,
    after: autoscaler.AutoscalerState,
    cause: Cause,
) -> Iterator[Output]:
    """Bound the droplets of a cluster by its policies, ask for its samples, and make it larger or smaller."""
    cluster_id = event.autoscaler.id
    id = deterministic_id(cause.id, cluster_id, event.how)
    match event.how:
        case "put" | "dropped":
            bounds = bounds_of(event.autoscaler.policies)
            yield members.following(
                Bound(id=cluster_id, command_id=id, least=bounds.least, most=bounds.most), cause
            )
        case "closed":
            yield members.following(Bound(id=cluster_id, command_id=id), cause)
        case "due":
            yield told.following(samples.Tell(id=cluster_id, command_id=id), cause)
        case "acted":
            assert event.decision is not None
            assert event.decision.action in ("scale_up", "scale_down")
            region = event.autoscaler.region or REGION
            scale = Scale(id=cluster_id, command_id=id, action=event.decision.action, region=region)
            yield members.following(scale, cause)


def evaluate(
    autoscalers: AnyFlow, event: samples.Changed, after: samples.SamplesState, cause: Cause
) -> Iterator[Output]:
    """Have policies evaluated by the samples that they were waiting for, or that are above a threshold."""
    if event.how not in ("told", "crossed"):
        return
    newest = event.samples
    measured = "" if event.sample is None else event.sample.type
    command = autoscaler.Evaluate(
        id=newest.id,
        command_id=deterministic_id(cause.id, newest.id, event.how, measured),
        samples=known(newest.latest.values()),
    )
    yield autoscalers.following(command, cause)


def count(autoscalers: AnyFlow, event: MembersChanged, after: MembersState, cause: Cause) -> Iterator[Output]:
    """Tell the autoscaler of a cluster with policies how many droplets there are."""
    members = event.members
    if members.most is None or event.how in ("asked", "noted", "opened", "refused"):
        return
    id = deterministic_id(cause.id, members.id, event.how, "count")
    droplets = len(members.droplets)
    yield autoscalers.following(autoscaler.Count(id=members.id, command_id=id, droplets=droplets), cause)
