"""The rules of resources: their state, commands, events and decisions (resources contract, section 1.1)."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Final, Literal

from domain.entity import Command, Kind, VersionedEntity, absent, present
from domain.errors import invalid
from domain.policy import Policy
from domain.values import Meta, Struct, replace

MAX_NAME: Final = 255
MAX_DESCRIPTION: Final = 65_536
MAX_STATUS: Final = 50

Name = Annotated[str, Meta(description="1 to 255 characters, blanks at both ends apart")]
Description = Annotated[str, Meta(extra_json_schema={"maxLength": MAX_DESCRIPTION})]
Status = Annotated[
    str, Meta(description="One of `RESOURCE_STATUSES`", extra_json_schema={"maxLength": MAX_STATUS})
]


class Resource(Struct, frozen=True, kw_only=True):
    """A resource as its readers see it."""

    id: str
    name: str
    description: str
    status: str
    created_at: datetime
    updated_at: datetime


class ResourceState(VersionedEntity, frozen=True, kw_only=True):
    """The state of one resource."""

    resource: Resource


class Write(Command, frozen=True, kw_only=True):
    """What a create and an update ask for."""

    name: Name
    description: Description | None = None
    status: Status | None = None


class Create(Write, frozen=True, kw_only=True, tag="resource.create"):
    """Create a resource."""


class Update(Write, frozen=True, kw_only=True, tag="resource.update"):
    """Replace a resource; without a status it keeps its current one."""


class Delete(Command, frozen=True, kw_only=True, tag="resource.delete"):
    """Delete a resource."""


class Apply(Write, frozen=True, kw_only=True, tag="resource.apply"):
    """Replace a resource, or create it if there is none; for writers that do not know which."""


Commands = Create | Update | Delete | Apply


class Changed(Struct, frozen=True):
    """A resource was written or deleted; `resource` is its new state, or its last one."""

    how: Literal["created", "updated", "deleted"]
    resource: Resource
    at: datetime


def check(write: Write, policy: Policy) -> None:
    """Raises: Rejected: `VALIDATION_FAILED`, a member is out of bounds."""
    if not 1 <= len(write.name.strip()) <= MAX_NAME:
        raise invalid(f"name must have 1 to {MAX_NAME} characters", field="name", value=write.name)
    if len(write.description or "") > MAX_DESCRIPTION:
        raise invalid(f"description must have at most {MAX_DESCRIPTION} characters", field="description")
    if write.status is not None and write.status not in policy.resource_statuses:
        text = f"status must be one of {', '.join(policy.resource_statuses)}"
        raise invalid(text, field="status", value=write.status)


def decide(
    state: ResourceState | None, command: Commands, at: datetime, *, policy: Policy
) -> Sequence[Changed]:
    """The events that a command leads to. Raises: Rejected."""
    match command:
        case Create():
            check(command, policy)
            absent(state)
            return (_created(command, at, policy),)
        case Apply(expected_version=None) if state is None or state.deleted_at is not None:
            check(command, policy)
            return (_created(command, at, policy),)
        case Update() | Apply():
            old = present(state, command).resource
            check(command, policy)
            return (_updated(old, command, at),)
        case Delete():
            return (Changed("deleted", present(state, command).resource, at),)


def _created(write: Write, at: datetime, policy: Policy) -> Changed:
    status = write.status or policy.resource_statuses[0]
    new = Resource(id=write.id, **_texts(write), status=status, created_at=at, updated_at=at)
    return Changed("created", new, at)


def _updated(old: Resource, write: Write, at: datetime) -> Changed:
    later = max(at, old.updated_at + timedelta(microseconds=1))  # it grows with every write
    new = replace(old, **_texts(write), status=write.status or old.status, updated_at=later)
    return Changed("updated", new, at)


def _texts(write: Write) -> Mapping[str, str]:
    return {"name": write.name.strip(), "description": write.description or ""}


def evolve(state: ResourceState | None, event: Changed) -> ResourceState:
    """The state after an event."""
    deleted_at = event.at if event.how == "deleted" else None
    state = state or ResourceState(revision=0, resource=event.resource)
    return replace(state, resource=event.resource, deleted_at=deleted_at)


def resource_kind(policy: Policy) -> Kind[ResourceState, Commands, Changed]:
    """The rules of resources under a policy."""
    return Kind(name="resource", state=ResourceState, decide=partial(decide, policy=policy), evolve=evolve)
