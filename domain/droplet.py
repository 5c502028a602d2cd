"""The rules of droplets: machines, of a cluster or of none (operations contract, sections 1.2 and 5)."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Final, Literal

from domain.entity import ENTITY_ID, Command, Kind, VersionedEntity, absent, present
from domain.errors import Rejected, invalid
from domain.networks import Address, Blocks, blocks_of
from domain.policy import Policy
from domain.values import Meta, Struct, replace

MAX_TEXT: Final = 255
SIZE: Final = "s-1vcpu-1gb"
IMAGE: Final = "ubuntu-20-04-x64"
SCALED_IMAGE: Final = "ubuntu-22-04-x64"
"""Of droplets that make a cluster larger (operations contract, section 5)."""

ASKED_AGAIN_AFTER: Final = timedelta(seconds=30)
"""When a request for an address is repeated that has come to nothing, as in a Kafka that was lost."""

_CLUSTER_ID: Final = re.compile(ENTITY_ID)

Status = Literal["provisioning", "active", "inactive", "failed"]
Text = Annotated[str, Meta(extra_json_schema={"maxLength": MAX_TEXT})]
Reason = Annotated[str, Meta(max_length=1000)]


class Droplet(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A droplet as its readers see it.

    Attributes:
        cluster_id: Absent for a droplet of no cluster.
        ip_address: Its own while it is active or inactive.
        reason: Why it has failed.
    """

    id: str
    cluster_id: str | None = None
    name: str
    region: str
    size: str
    image: str
    provider: str = ""
    status: Status
    created_at: datetime
    updated_at: datetime
    ip_address: str | None = None
    reason: str = ""


class DropletState(VersionedEntity, frozen=True, kw_only=True):
    """The state of one droplet.

    Attributes:
        wakes_at: While it is provisioned, when it asks for an address.
        block: That its address is from, and that takes it back.
    """

    droplet: Droplet
    wakes_at: datetime | None = None
    block: str = ""


class Create(Command, frozen=True, kw_only=True, tag="droplet.create"):
    """Create a droplet."""

    name: Text
    region: Text
    size: Text = ""
    image: Text = ""
    provider: Text = ""
    cluster_id: Text | None = None


class Delete(Command, frozen=True, kw_only=True, tag="droplet.delete"):
    """Delete a droplet."""


class Stop(Command, frozen=True, kw_only=True, tag="droplet.stop"):
    """Make an active droplet inactive; it keeps its address."""


class Start(Command, frozen=True, kw_only=True, tag="droplet.start"):
    """Make an inactive droplet active."""


class Activate(Command, frozen=True, kw_only=True, tag="droplet.activate"):
    """End the provisioning of a droplet, which has got an address.

    Attributes:
        block: The block of the address.
    """

    address: Address
    block: Address


class Fail(Command, frozen=True, kw_only=True, tag="droplet.fail"):
    """Have a droplet fail that can't have what it needs."""

    reason: Reason


Commands = Create | Delete | Stop | Start | Activate | Fail


class Changed(Struct, frozen=True, kw_only=True):
    """Something has become of a droplet.

    Attributes:
        how: `asked` where it needs an address, `returned` where it has no use for the one that came; what
            readers see does not change then.
        block: Of addresses: the one that is asked, that has given one, or that is given `address` back.
        others: How many more blocks may be asked.
    """

    how: Literal["created", "asked", "updated", "deleted", "returned"]
    droplet: Droplet
    at: datetime
    block: str = ""
    address: str = ""
    others: int = 0
    wakes_at: datetime | None = None


def check(create: Create) -> None:
    """Raises: Rejected: `VALIDATION_FAILED`, a member is out of bounds, or `CLUSTER_NOT_FOUND`."""
    for name in ("name", "region"):
        if not getattr(create, name).strip():
            raise invalid(f"{name} is required", field=name)
    for name in ("name", "region", "size", "image", "provider", "cluster_id"):
        if len(getattr(create, name) or "") > MAX_TEXT:
            raise invalid(f"{name} must have at most {MAX_TEXT} characters", field=name)
    if create.cluster_id and _CLUSTER_ID.fullmatch(create.cluster_id) is None:
        raise Rejected(
            "CLUSTER_NOT_FOUND", "cluster not found: no cluster has such an id", field="cluster_id"
        )


def decide(
    state: DropletState | None, command: Commands, at: datetime, *, provisioning: timedelta
) -> Sequence[Changed]:
    """The events that a command leads to. Raises: Rejected."""
    match command:
        case Create():
            check(command)
            absent(state)
            return (Changed(how="created", droplet=_new(command, at), at=at, wakes_at=at + provisioning),)
        case Activate():
            return _activated(state, command, at)
        case Fail(reason=reason):
            return _failed(present(state, command), reason, at)
        case Stop():
            return (_updated(_only(present(state, command), "active"), at, status="inactive"),)
        case Start():
            return (_updated(_only(present(state, command), "inactive"), at, status="active"),)
        case Delete():
            known = present(state, command)
            address = known.droplet.ip_address or ""
            return (Changed(how="deleted", droplet=known.droplet, at=at, block=known.block, address=address),)


def _new(create: Create, at: datetime) -> Droplet:
    return Droplet(
        id=create.id,
        cluster_id=create.cluster_id or None,
        name=create.name.strip(),
        region=create.region.strip(),
        size=create.size or SIZE,
        image=create.image or IMAGE,
        provider=create.provider,
        status="provisioning",
        created_at=at,
        updated_at=at,
    )


def _activated(state: DropletState | None, command: Activate, at: datetime) -> Sequence[Changed]:
    """An address has come. One that is not needed, as the droplet was deleted meanwhile, goes back."""
    if state is None:
        raise Rejected("RESOURCE_NOT_FOUND", "Not found")
    live = state.deleted_at is None
    if live and state.droplet.ip_address == command.address:
        return ()
    if live and state.droplet.status == "provisioning":
        given = _updated(state, at, status="active", ip_address=command.address)
        return (replace(given, block=command.block),)
    return (
        Changed(how="returned", droplet=state.droplet, at=at, block=command.block, address=command.address),
    )


def _failed(state: DropletState, reason: str, at: datetime) -> Sequence[Changed]:
    """It can't be had; an address that it has goes back."""
    if state.droplet.status == "failed":
        return ()
    address = state.droplet.ip_address or ""
    failed = _updated(state, at, status="failed", reason=reason, ip_address=None)
    return (replace(failed, block=state.block, address=address),)


def _only(state: DropletState, status: Status) -> DropletState:
    """Raises: Rejected: `RESOURCE_CONFLICT`, its status is another one."""
    if state.droplet.status != status:
        raise Rejected("RESOURCE_CONFLICT", f"This is for a droplet that is {status}", field="status")
    return state


def _updated(state: DropletState, at: datetime, **members: str | None) -> Changed:
    later = max(at, state.droplet.updated_at + timedelta(microseconds=1))  # it grows with every write
    return Changed(how="updated", droplet=replace(state.droplet, **members, updated_at=later), at=at)


def wake_at(state: DropletState) -> datetime | None:
    """When it asks for an address."""
    return state.wakes_at


def wake(state: DropletState, at: datetime, *, blocks: Blocks) -> Sequence[Changed]:
    """All that it lacks now is an address. A request that has come to nothing is repeated."""
    droplet = state.droplet
    block, others = blocks.first_for(droplet.id), blocks.asked - 1
    again = at + ASKED_AGAIN_AFTER
    return (Changed(how="asked", droplet=droplet, at=at, block=block, others=others, wakes_at=again),)


def evolve(state: DropletState | None, event: Changed) -> DropletState:
    """The state after an event."""
    state = state or DropletState(revision=0, droplet=event.droplet)
    if event.how == "returned":
        return state
    return replace(
        state,
        droplet=event.droplet,
        wakes_at=event.wakes_at,
        block=event.block or state.block,
        deleted_at=event.at if event.how == "deleted" else None,
    )


def droplet_kind(policy: Policy) -> Kind[DropletState, Commands, Changed]:
    """The rules of droplets under a policy."""
    return Kind(
        name="droplet",
        state=DropletState,
        decide=partial(decide, provisioning=policy.droplet_provisioning),
        evolve=evolve,
        wake_at=wake_at,
        wake=partial(wake, blocks=blocks_of(policy.droplet_network)),
    )
