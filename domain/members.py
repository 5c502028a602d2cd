"""The droplets of each cluster: who belongs to it, and what becomes of them when it goes.

A cluster with droplets has an entity of this kind under its own id. Its first droplet has it ask the agent
of clusters whether there is such a cluster. That agent remembers the question, and says when the cluster is
deleted. So clusters without droplets cost nothing here.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

from domain.entity import Command, EntityId, Kind, VersionedEntity
from domain.values import Meta, Struct, replace

MAX_MEMBERS: Final = 1000
"""Droplets of one cluster."""

ASKED_AGAIN_AFTER: Final = timedelta(minutes=1)
"""How long an answer may take until the question is repeated."""

LOOKED_AFTER: Final = timedelta(hours=6)
"""How often it is asked anyway: a Kafka that was lost, and filled again, has forgotten who asked."""

_CLUSTER_ID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

NOT_FOUND: Final = "cluster not found"
FULL: Final = f"the cluster has {MAX_MEMBERS} droplets already"


class Members(Struct, frozen=True, kw_only=True):
    """The droplets of a cluster.

    Attributes:
        id: That of the cluster.
        droplets: Their ids, in the order in which they came.
        known: Whether the cluster is known to exist.
    """

    id: str
    droplets: tuple[str, ...] = ()
    known: bool = False
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


class Open(Command, frozen=True, kw_only=True, tag="members.open"):
    """The cluster exists."""


class Close(Command, frozen=True, kw_only=True, tag="members.close"):
    """There is no such cluster, or none any more.

    Attributes:
        deleted: Whether it was deleted, and its droplets go with it.
    """

    deleted: Annotated[bool, Meta(description="Whether there was one")]


Commands = Join | Leave | Open | Close


class Changed(Struct, frozen=True, kw_only=True):
    """Something has become of the droplets of a cluster.

    Attributes:
        how: `asked` if the agent of clusters shall say whether there is one; `refused` where there are too
            many; `closed` where there is no cluster, `deleted` where there is none any more.
        droplets: Those it is about, where it is about some of them.
    """

    how: Literal["asked", "joined", "left", "opened", "closed", "deleted", "refused"]
    members: Members
    at: datetime
    droplets: tuple[str, ...] = ()


def decide(state: MembersState | None, command: Commands, at: datetime) -> Sequence[Changed]:
    """The events that a command leads to."""
    live = None if state is None or state.deleted_at is not None else state.members
    match command:
        case Join(droplet=droplet):
            return _joined(live or Members(id=command.id, created_at=at, updated_at=at), droplet, at)
        case Leave(droplet=droplet) if live is not None and droplet in live.droplets:
            left = tuple(each for each in live.droplets if each != droplet)
            return (Changed(how="left", members=replace(live, droplets=left, updated_at=at), at=at),)
        case Open() if live is not None:
            return (Changed(how="opened", members=replace(live, known=True, updated_at=at), at=at),)
        case Close(deleted=deleted) if live is not None:
            how: Literal["deleted", "closed"] = "deleted" if deleted else "closed"
            return (Changed(how=how, members=live, at=at, droplets=live.droplets),)
    return ()


def _joined(members: Members, droplet: str, at: datetime) -> Sequence[Changed]:
    if droplet in members.droplets:
        return ()
    if _CLUSTER_ID.fullmatch(members.id) is None:
        return (Changed(how="closed", members=members, at=at, droplets=(droplet,)),)
    if len(members.droplets) >= MAX_MEMBERS:
        return (Changed(how="refused", members=members, at=at, droplets=(droplet,)),)
    joined = replace(members, droplets=(*members.droplets, droplet), updated_at=at)
    return (Changed(how="joined" if members.droplets else "asked", members=joined, at=at),)


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
    name="members", state=MembersState, decide=decide, evolve=evolve, wake_at=wake_at, wake=wake
)
