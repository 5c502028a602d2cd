"""The rules of policies of scaling, each an entity of its own (operations contract, section 1.5)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

from domain.autoscale import MAX_COST, MAX_NAME, MAX_WORD, Replicas, ScalingPolicy, Type, check
from domain.entity import Command, EntityId, Kind, VersionedEntity, absent, present
from domain.values import Meta, Struct, replace

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Word = Annotated[str, Meta(max_length=MAX_WORD)]
Trigger = Annotated[float, Meta(ge=0, le=1)]
Cost = Annotated[float, Meta(ge=0, le=MAX_COST)]


class ScalingState(VersionedEntity, frozen=True, kw_only=True):
    """The state of one policy."""

    policy: ScalingPolicy


class Create(Command, frozen=True, kw_only=True, tag="scaling.create"):
    """Create a policy."""

    name: Name
    cluster_id: EntityId
    policy_type: Type
    enabled: bool = True
    min_replicas: Replicas = 1
    max_replicas: Replicas = 3
    metric_type: Word = ""
    metric_trigger: Trigger = 0.0
    time_window: Word = ""
    cost_limit: Cost = 0.0


class Update(Command, frozen=True, kw_only=True, tag="scaling.update"):
    """Change a policy; what is absent stays as it is."""

    name: Name | None = None
    policy_type: Type | None = None
    enabled: bool | None = None
    min_replicas: Replicas | None = None
    max_replicas: Replicas | None = None
    metric_type: Word | None = None
    metric_trigger: Trigger | None = None
    time_window: Word | None = None
    cost_limit: Cost | None = None


class Delete(Command, frozen=True, kw_only=True, tag="scaling.delete"):
    """Delete a policy."""


Commands = Create | Update | Delete

_MEMBERS: Final = (
    "name",
    "enabled",
    "min_replicas",
    "max_replicas",
    "metric_type",
    "metric_trigger",
    "time_window",
    "cost_limit",
)


class Changed(Struct, frozen=True, kw_only=True):
    """A policy was created, changed or deleted."""

    how: Literal["created", "updated", "deleted"]
    policy: ScalingPolicy
    at: datetime


def made(create: Create, at: datetime) -> ScalingPolicy:
    """The policy that a create asks for. Raises: Rejected: it can't be followed."""
    members: dict[str, Any] = {name: getattr(create, name) for name in _MEMBERS}
    policy = ScalingPolicy(
        **{**members, "name": create.name.strip()},
        id=create.id,
        cluster_id=create.cluster_id,
        type=create.policy_type,
        created_at=at,
        updated_at=at,
    )
    check(policy)
    return policy


def _updated(before: ScalingPolicy, update: Update, at: datetime) -> ScalingPolicy:
    given: dict[str, Any] = {name: value for name in _MEMBERS if (value := getattr(update, name)) is not None}
    if update.policy_type is not None:
        given["type"] = update.policy_type
    later = max(at, before.updated_at + timedelta(microseconds=1))
    policy = replace(before, **given, updated_at=later)
    check(policy)
    return policy


def decide(state: ScalingState | None, command: Commands, at: datetime) -> Sequence[Changed]:
    """The events that a command leads to. Raises: Rejected."""
    match command:
        case Create():
            policy = made(command, at)
            absent(state)
            return (Changed(how="created", policy=policy, at=at),)
        case Update():
            before = present(state, command).policy
            return (Changed(how="updated", policy=_updated(before, command, at), at=at),)
        case Delete():
            return (Changed(how="deleted", policy=present(state, command).policy, at=at),)


def evolve(state: ScalingState | None, event: Changed) -> ScalingState:
    """The state after an event."""
    deleted_at = event.at if event.how == "deleted" else None
    state = state or ScalingState(revision=0, policy=event.policy)
    return replace(state, policy=event.policy, deleted_at=deleted_at)


SCALING: Final = Kind(name="scaling", state=ScalingState, decide=decide, evolve=evolve)
