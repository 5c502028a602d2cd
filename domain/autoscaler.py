"""The autoscaler of each cluster: all its policies, and when it was scaled last (operations contract, 7).

Policies are entities of their own, and this one has copies of those of its cluster, so that their conflicts
are one decision. It asks the agent of clusters whether there is such a cluster, and learns its region by the
answer. How many droplets there are it is told by the agent of members, which holds the bounds of the policies
exactly.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Final, Literal

from domain.autoscale import MAX_DROPLETS, Decision, ScalingPolicy, Situation, evaluate, zone_of
from domain.entity import Command, Kind, VersionedEntity
from domain.ids import CLUSTER_ID
from domain.measures import MEASURED, KnownSample
from domain.policy import Policy
from domain.values import Meta, Struct, replace

MAX_POLICIES: Final = 50
"""Of one cluster."""

LOOKED_AFTER: Final = timedelta(hours=6)
"""How often it asks whether the cluster exists: a Kafka that was filled again has forgotten who asked."""


class Autoscaler(Struct, frozen=True, kw_only=True):
    """The policies of a cluster, and what the last evaluation of them has led to.

    Attributes:
        id: That of the cluster.
        region: Of new droplets.
        droplets: How many it has.
        acted_at: When a policy made it larger or smaller last.
        evaluated: Policies that were looked at last, disabled ones among them.
        actions: What was done then, in words.
    """

    id: str
    policies: tuple[ScalingPolicy, ...] = ()
    region: str = ""
    droplets: int = 0
    acted_at: datetime | None = None
    evaluated: int = 0
    actions: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()
    created_at: datetime
    updated_at: datetime


class AutoscalerState(VersionedEntity, frozen=True, kw_only=True):
    """The state of one cluster's autoscaler.

    Attributes:
        asked_at: When it asked last whether the cluster exists.
        wakes_at: When it evaluates its policies next, or asks again.
    """

    autoscaler: Autoscaler
    asked_at: datetime | None = None
    wakes_at: datetime | None = None


class Put(Command, frozen=True, kw_only=True, tag="autoscaler.put"):
    """A policy of the cluster was created or changed."""

    policy: ScalingPolicy


class Drop(Command, frozen=True, kw_only=True, tag="autoscaler.drop"):
    """A policy of the cluster was deleted."""

    policy_id: str


class Count(Command, frozen=True, kw_only=True, tag="autoscaler.count"):
    """Tell the autoscaler how many droplets the cluster has."""

    droplets: Annotated[int, Meta(ge=0, le=MAX_DROPLETS)]


class Evaluate(Command, frozen=True, kw_only=True, tag="autoscaler.evaluate"):
    """Evaluate the policies.

    Attributes:
        samples: The newest of each type.
    """

    samples: Annotated[tuple[KnownSample, ...], Meta(max_length=len(MEASURED))] = ()


class Open(Command, frozen=True, kw_only=True, tag="autoscaler.open"):
    """The cluster exists, in this region."""

    region: str = ""


class Close(Command, frozen=True, kw_only=True, tag="autoscaler.close"):
    """There is no such cluster, or none any more."""

    deleted: bool


Commands = Put | Drop | Count | Evaluate | Open | Close


class Changed(Struct, frozen=True, kw_only=True):
    """Something has become of the policies of a cluster, or of what they depend on.

    Attributes:
        how: `unwanted` if there are too many policies, or no cluster can be called so; `asked` if the agent
            of clusters shall say whether there is one, `due` if the policies are to be evaluated, `acted` if
            one of them makes the cluster larger or smaller.
        policy_id: That of the unwanted policy.
        decision: What the one that acts does.
    """

    how: Literal[
        "put", "unwanted", "dropped", "counted", "asked", "opened", "due", "evaluated", "acted", "closed"
    ]
    autoscaler: Autoscaler
    at: datetime
    policy_id: str = ""
    decision: Decision | None = None


def decide(
    state: AutoscalerState | None, command: Commands, at: datetime, *, policy: Policy
) -> Sequence[Changed]:
    """The events that a command leads to; nothing is refused."""
    live = None if state is None or state.deleted_at is not None else state.autoscaler
    if isinstance(command, Put):
        return _put(live or Autoscaler(id=command.id, created_at=at, updated_at=at), command.policy, at)
    if live is None:
        return ()
    match command:
        case Drop():
            kept = tuple(each for each in live.policies if each.id != command.policy_id)
            return (Changed(how="dropped", autoscaler=_changed(live, at, policies=kept), at=at),)
        case Count() if command.droplets != live.droplets:
            counted = _changed(live, at, droplets=command.droplets)
            return (
                ()
                if command.droplets == live.droplets
                else (Changed(how="counted", autoscaler=counted, at=at),)
            )
        case Open():
            return (Changed(how="opened", autoscaler=_changed(live, at, region=command.region), at=at),)
        case Close():
            return (Changed(how="closed", autoscaler=live, at=at),)
        case Evaluate():
            return _evaluated(live, command, at, policy)
    return ()


def _changed(before: Autoscaler, at: datetime, **members: object) -> Autoscaler:
    return replace(before, **members, updated_at=max(at, before.updated_at))


def _put(before: Autoscaler, policy: ScalingPolicy, at: datetime) -> Sequence[Changed]:
    others = [each for each in before.policies if each.id != policy.id]
    if len(others) >= MAX_POLICIES or CLUSTER_ID.fullmatch(before.id) is None:
        return (Changed(how="unwanted", autoscaler=before, at=at, policy_id=policy.id),)
    policies = tuple(sorted((*others, policy), key=lambda each: (each.created_at, each.id)))
    after = _changed(before, at, policies=policies)
    put = Changed(how="put", autoscaler=after, at=at)
    return (put,) if before.policies else (put, Changed(how="asked", autoscaler=after, at=at))


def _evaluated(before: Autoscaler, command: Evaluate, at: datetime, policy: Policy) -> Sequence[Changed]:
    now = Situation(
        droplets=before.droplets,
        samples=command.samples,
        at=at,
        acted_at=before.acted_at,
        cooldown=policy.autoscale_cooldown,
        zone=zone_of(policy.autoscale_zone),
    )
    decisions = evaluate(before.policies, now)
    moves = [decision for decision in decisions if decision.action in ("scale_up", "scale_down")]
    after = _changed(
        before,
        at,
        evaluated=len(before.policies),
        actions=tuple(decision.said for decision in decisions if decision.action != "hold"),
        decisions=decisions,
        acted_at=at if moves else before.acted_at,
    )
    evaluated = Changed(how="evaluated", autoscaler=after, at=at)
    return (evaluated, *(Changed(how="acted", autoscaler=after, at=at, decision=move) for move in moves))


def evolve(state: AutoscalerState | None, event: Changed, *, policy: Policy) -> AutoscalerState:
    """The state after an event; one without policies is forgotten."""
    state = state or AutoscalerState(revision=0, autoscaler=event.autoscaler)
    gone = event.how == "closed" or not event.autoscaler.policies
    asked_at = event.at if event.how == "asked" else state.asked_at
    wakes_at = state.wakes_at
    if event.how in ("asked", "due"):
        wakes_at = event.at + (policy.autoscale_interval or LOOKED_AFTER)
    return replace(
        state,
        autoscaler=event.autoscaler,
        deleted_at=event.at if gone else None,
        asked_at=asked_at,
        wakes_at=wakes_at,
    )


def wake_at(state: AutoscalerState) -> datetime | None:
    """When it has something to do next."""
    return state.wakes_at


def wake(state: AutoscalerState, at: datetime, *, policy: Policy) -> Sequence[Changed]:
    """Its policies are due, unless they never are; and from time to time it asks."""
    due = Changed(how="due", autoscaler=state.autoscaler, at=at)
    asked = Changed(how="asked", autoscaler=state.autoscaler, at=at)
    asks = state.asked_at is None or at - state.asked_at >= LOOKED_AFTER
    return (*((due,) if policy.autoscale_interval else ()), *((asked,) if asks else ()))


def autoscaler_kind(policy: Policy) -> Kind[AutoscalerState, Commands, Changed]:
    """The rules of autoscalers under a policy."""
    return Kind(
        name="autoscaler",
        state=AutoscalerState,
        decide=partial(decide, policy=policy),
        evolve=partial(evolve, policy=policy),
        wake_at=wake_at,
        wake=partial(wake, policy=policy),
    )
