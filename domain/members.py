"""The droplets of each cluster: who belongs to it, and what becomes of them when it goes.

A cluster with droplets has an entity of this kind under its own id. Its first droplet has it ask the agent
of clusters whether there is such a cluster. That agent remembers the question, and says when the cluster is
deleted. So clusters without droplets cost nothing here.

It is also who makes a cluster larger or smaller, one decision after the other, since nobody else knows all of
its droplets at that moment.
"""

from collections.abc import Mapping, Sequence, Set
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, Self

from domain.entity import Command, EntityId, Kind, VersionedEntity
from domain.errors import Rejected, invalid
from domain.ids import CLUSTER_ID, entity_id_of
from domain.values import Meta, Struct, replace

MAX_MEMBERS: Final = 1000
"""Droplets of one cluster."""

ASKED_AGAIN_AFTER: Final = timedelta(minutes=1)
"""How long an answer may take until the question is repeated."""

LOOKED_AFTER: Final = timedelta(hours=6)
"""How often it is asked anyway: a Kafka that was lost, and filled again, has forgotten who asked."""

NOT_FOUND: Final = "cluster not found"
FULL: Final = f"the cluster has {MAX_MEMBERS} droplets already"
AT_MOST: Final = "the cluster has as many droplets as its policies allow"
AT_LEAST: Final = "the cluster has as few droplets as its policies allow"
NONE_LEFT: Final = "no droplets to scale down"

MOST_AT_ONCE: Final = 10
"""Droplets that one command may make or delete."""

Action = Literal["scale_up", "scale_down"]


class Members(Struct, frozen=True, kw_only=True):
    """The droplets of a cluster.

    Attributes:
        id: That of the cluster.
        droplets: Their ids, in the order in which they came.
        active: The ids of those among them that are active.
        known: Whether the cluster is known to exist.
        least, most: The bounds that its policies set, within which it is scaled; None where there are none.
    """

    id: str
    droplets: tuple[str, ...] = ()
    active: tuple[str, ...] = ()
    known: bool = False
    least: int | None = None
    most: int | None = None
    created_at: datetime
    updated_at: datetime


class MembersState(VersionedEntity, frozen=True, kw_only=True):
    """The state of one cluster's droplets.

    Attributes:
        wakes_at: When it asks again whether the cluster exists.
    """

    members: Members
    wakes_at: datetime | None = None


class Join(Command, frozen=True, kw_only=True, tag="members.join"):
    """A droplet of the cluster was created."""

    droplet: EntityId


class Leave(Command, frozen=True, kw_only=True, tag="members.leave"):
    """A droplet of the cluster was deleted."""

    droplet: EntityId


class Note(Command, frozen=True, kw_only=True, tag="members.note"):
    """The status of a droplet of the cluster has changed."""

    droplet: EntityId
    active: bool


class Scale(Command, frozen=True, kw_only=True, tag="members.scale"):
    """Make the cluster larger, or smaller by the newest of its active droplets.

    Attributes:
        region: Of new droplets.
    """

    action: Action
    count: Annotated[int, Meta(ge=1, le=MOST_AT_ONCE)] = 1
    region: Annotated[str, Meta(min_length=1, max_length=255)]

    def request(self) -> Self:
        """A repeat may come once the cluster was moved."""
        return replace(self, region="")


class Open(Command, frozen=True, kw_only=True, tag="members.open"):
    """The cluster exists."""


class Close(Command, frozen=True, kw_only=True, tag="members.close"):
    """There is no such cluster, or none any more.

    Attributes:
        deleted: Whether it was deleted, and its droplets go with it.
    """

    deleted: Annotated[bool, Meta(description="Whether there was one")]


class Bound(Command, frozen=True, kw_only=True, tag="members.bound"):
    """Set the bounds of the number of droplets that the policies of the cluster want."""

    least: Annotated[int, Meta(ge=0, le=MAX_MEMBERS)] | None = None
    most: Annotated[int, Meta(ge=0, le=MAX_MEMBERS)] | None = None


Commands = Join | Leave | Note | Scale | Bound | Open | Close


class Changed(Struct, frozen=True, kw_only=True):
    """Something has become of the droplets of a cluster.

    Attributes:
        how: `asked` if the agent of clusters shall say whether there is one; `refused` where there are too
            many; `closed` where there is no cluster, `deleted` where there is none any more.
        droplets: Those it is about, where it is about some of them.
        region: Of new droplets.
    """

    how: Literal[
        "asked",
        "joined",
        "left",
        "noted",
        "grown",
        "shrunk",
        "bounded",
        "opened",
        "closed",
        "deleted",
        "refused",
    ]
    members: Members
    at: datetime
    droplets: tuple[str, ...] = ()
    region: str = ""


def decide(state: MembersState | None, command: Commands, at: datetime) -> Sequence[Changed]:
    """The events that a command leads to. Raises: Rejected: it can't be scaled like that."""
    live = None if state is None or state.deleted_at is not None else state.members
    match command:
        case Join(droplet=droplet):
            return _joined(live or Members(id=command.id, created_at=at, updated_at=at), droplet, at)
        case Leave(droplet=droplet) if live is not None and droplet in live.droplets:
            return (Changed(how="left", members=_without(live, {droplet}, at), at=at),)
        case Note(droplet=droplet, active=active) if live is not None and droplet in live.droplets:
            return _noted(live, droplet, at, active=active)
        case Bound() if live is not None or command.most is not None:
            known = live or Members(id=command.id, created_at=at, updated_at=at)
            bounded = replace(known, least=command.least, most=command.most, updated_at=at)
            return (Changed(how="bounded", members=bounded, at=at),)
        case Scale(action="scale_up"):
            return _grown(live or Members(id=command.id, created_at=at, updated_at=at), command, at)
        case Scale():
            return _shrunk(live, command, at)
        case Open() if live is not None:
            return (Changed(how="opened", members=replace(live, known=True, updated_at=at), at=at),)
        case Close(deleted=deleted) if live is not None:
            how: Literal["deleted", "closed"] = "deleted" if deleted else "closed"
            return (Changed(how=how, members=live, at=at, droplets=live.droplets),)
    return ()


def _joined(members: Members, droplet: str, at: datetime) -> Sequence[Changed]:
    if droplet in members.droplets:
        return ()
    if CLUSTER_ID.fullmatch(members.id) is None:
        return (Changed(how="closed", members=members, at=at, droplets=(droplet,)),)
    if len(members.droplets) >= MAX_MEMBERS:
        return (Changed(how="refused", members=members, at=at, droplets=(droplet,)),)
    joined = replace(members, droplets=(*members.droplets, droplet), updated_at=at)
    return (Changed(how="joined" if members.droplets else "asked", members=joined, at=at),)


def _without(members: Members, gone: Set[str], at: datetime) -> Members:
    droplets, active = (
        tuple(id for id in ids if id not in gone) for ids in (members.droplets, members.active)
    )
    return replace(members, droplets=droplets, active=active, updated_at=at)


def _noted(members: Members, droplet: str, at: datetime, *, active: bool) -> Sequence[Changed]:
    if active is (droplet in members.active):
        return ()
    others = tuple(id for id in members.active if id != droplet)
    noted = replace(members, active=(*others, droplet) if active else others, updated_at=at)
    return (Changed(how="noted", members=noted, at=at),)


def _grown(members: Members, scale: Scale, at: datetime) -> Sequence[Changed]:
    """New droplets count from now on, before they exist; one decision must know of the last one."""
    if CLUSTER_ID.fullmatch(members.id) is None:
        raise Rejected("CLUSTER_NOT_FOUND", NOT_FOUND, field="cluster_id")
    if not scale.region.strip():
        raise invalid("region is required", field="region")
    if len(members.droplets) + scale.count > MAX_MEMBERS:
        raise Rejected("RESOURCE_CONFLICT", FULL, field="count")
    room = scale.count if members.most is None else min(scale.count, members.most - len(members.droplets))
    if room <= 0:
        raise Rejected("RESOURCE_CONFLICT", AT_MOST, field="count")
    new = tuple(
        f"droplet-{entity_id_of(f'{scale.command_id} {number}', 'droplet')}" for number in range(room)
    )
    grown = replace(members, droplets=(*members.droplets, *new), updated_at=at)
    events = (Changed(how="grown", members=grown, at=at, droplets=new, region=scale.region),)
    return events if members.droplets else (*events, Changed(how="asked", members=grown, at=at))


def _shrunk(members: Members | None, scale: Scale, at: datetime) -> Sequence[Changed]:
    if members is None or not members.active:
        raise Rejected("RESOURCE_CONFLICT", NONE_LEFT)
    spare = len(members.droplets) - (members.least or 0)
    if spare <= 0:
        raise Rejected("RESOURCE_CONFLICT", AT_LEAST, field="count")
    newest = [id for id in reversed(members.droplets) if id in members.active]
    gone = tuple(newest[: min(scale.count, spare)])
    return (Changed(how="shrunk", members=_without(members, {*gone}, at), at=at, droplets=gone),)


def details(events: Sequence[Changed]) -> Mapping[str, Any]:
    """The droplets that were made or deleted, for who has asked for that."""
    scaled = [event.droplets for event in events if event.how in ("grown", "shrunk")]
    return {"droplets": [id for droplets in scaled for id in droplets]} if scaled else {}


def wake_at(state: MembersState) -> datetime | None:
    """When it asks again."""
    return state.wakes_at


def wake(state: MembersState, at: datetime) -> Sequence[Changed]:
    """It is time to ask again, unless there is nobody left to ask for."""
    how: Literal["asked", "closed"] = "asked" if state.members.droplets else "closed"
    return (Changed(how=how, members=state.members, at=at),)


def evolve(state: MembersState | None, event: Changed) -> MembersState:
    """The state after an event."""
    state = state or MembersState(revision=0, members=event.members)
    gone = event.how in ("closed", "deleted")
    return replace(
        state, members=event.members, deleted_at=event.at if gone else None, wakes_at=_wakes_at(state, event)
    )


def _wakes_at(state: MembersState, event: Changed) -> datetime | None:
    if event.how == "asked":
        return event.at + (LOOKED_AFTER if event.members.known else ASKED_AGAIN_AFTER)
    return event.at + LOOKED_AFTER if event.how == "opened" else state.wakes_at


MEMBERS: Final = Kind(
    name="members",
    state=MembersState,
    decide=decide,
    evolve=evolve,
    wake_at=wake_at,
    wake=wake,
    details=details,
)
