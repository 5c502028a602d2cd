"""A kind with a timer, for tests of what all kinds stand on: a lamp warms up for two seconds, then is lit."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Literal

from domain.entity import Command, Kind, VersionedEntity, absent, present
from domain.values import Meta, Struct, replace
from streams.cause import Cause, announcement
from streams.flow import Flow
from streams.writing.outputs import Output

WARM_UP = timedelta(seconds=2)


class Lamp(Struct, frozen=True, kw_only=True):
    """A lamp as its readers see it."""

    id: str
    colour: str
    status: Literal["warming", "lit"]
    created_at: datetime
    updated_at: datetime


class LampState(VersionedEntity, frozen=True, kw_only=True):
    """The state of one lamp."""

    lamp: Lamp


class Create(Command, frozen=True, kw_only=True, tag="lamp.create"):
    """Put a lamp up."""

    colour: Annotated[str, Meta(min_length=1, max_length=20)]


class Paint(Command, frozen=True, kw_only=True, tag="lamp.paint"):
    """Give it another colour, for which it warms up once more."""

    colour: Annotated[str, Meta(min_length=1, max_length=20)]


class Delete(Command, frozen=True, kw_only=True, tag="lamp.delete"):
    """Take it down."""


class Changed(Struct, frozen=True):
    """A lamp was put up, painted, lit or taken down."""

    how: Literal["created", "painted", "lit", "deleted"]
    lamp: Lamp
    at: datetime


def decide(state: LampState | None, command: Create | Paint | Delete, at: datetime) -> Sequence[Changed]:
    match command:
        case Create(id=id, colour=colour):
            absent(state)
            new = Lamp(id=id, colour=colour, status="warming", created_at=at, updated_at=at)
            return (Changed("created", new, at),)
        case Paint(colour=colour):  # does the same to a lamp that is lit and to one whose wake is overdue
            lamp = present(state, command).lamp
            later = max(at, lamp.updated_at + timedelta(microseconds=1))  # no moment may come twice
            return (Changed("painted", replace(lamp, colour=colour, status="warming", updated_at=later), at),)
        case Delete():
            return (Changed("deleted", present(state, command).lamp, at),)


def evolve(state: LampState | None, event: Changed) -> LampState:
    deleted_at = event.at if event.how == "deleted" else None
    state = state or LampState(revision=0, lamp=event.lamp)
    return replace(state, lamp=event.lamp, deleted_at=deleted_at)


def wake_at(state: LampState) -> datetime | None:
    return state.lamp.updated_at + WARM_UP if state.lamp.status == "warming" else None


def wake(state: LampState, at: datetime) -> Sequence[Changed]:
    lit = replace(state.lamp, status="lit", updated_at=at)  # it grows: `at` is WARM_UP after it
    return (Changed("lit", lit, at),)


LAMP = Kind(
    name="lamp",
    state=LampState,
    decide=decide,
    evolve=evolve,
    wake_at=wake_at,
    wake=wake,
    retention=timedelta(minutes=1),
)


class Gone(Struct):
    """The value of `lamp.deleted`."""

    id: str


def announce(event: Changed, after: LampState, cause: Cause) -> Iterator[Output]:
    value = Gone(event.lamp.id) if event.how == "deleted" else event.lamp
    yield announcement(f"lamp.{event.how}", event.lamp.id, value, after, cause)


FLOW = Flow(
    kind=LAMP,
    messages=Create | Paint | Delete,
    commands="lamp.commands",
    state="lamp-state",
    public={"lamp.created": Lamp, "lamp.painted": Lamp, "lamp.lit": Lamp, "lamp.deleted": Gone},
    announce=announce,
    shown="lamp",
)
