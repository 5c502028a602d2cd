"""A kind of entity as simple as one can be, for tests of what serves every kind: a toy is made and broken."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from domain.entity import Command, Kind, VersionedEntity, absent, present
from domain.values import Meta, Struct, replace
from streams.cause import Cause, announcement
from streams.flow import Flow
from streams.writing.outputs import Output

Name = Annotated[str, Meta(min_length=1, max_length=20)]


class Toy(Struct, frozen=True, kw_only=True):
    """A toy as its readers see it."""

    id: str
    name: Name
    made_at: datetime


class ToyState(VersionedEntity, frozen=True, kw_only=True):
    """The state of one toy."""

    toy: Toy


class Make(Command, frozen=True, kw_only=True, tag="toy.make"):
    """Make a toy."""

    name: Name


class Break(Command, frozen=True, kw_only=True, tag="toy.break"):
    """Break a toy."""


class Made(Struct, frozen=True):
    """A toy was made."""

    toy: Toy


class Broken(Struct, frozen=True):
    """A toy was broken."""

    at: datetime


class Gone(Struct, frozen=True):
    """The value of `toy.broken`."""

    id: str


def decide(state: ToyState | None, command: Make | Break, at: datetime) -> Sequence[Made | Broken]:
    """The events that a command leads to. Raises: Rejected."""
    match command:
        case Make(id=id, name=name):
            absent(state)
            return (Made(Toy(id=id, name=name, made_at=at)),)
        case Break():
            present(state, command)
            return (Broken(at),)


def evolve(state: ToyState | None, event: Made | Broken) -> ToyState:
    """The state after an event."""
    match event:
        case Made(toy=toy):
            return ToyState(revision=0, toy=toy)
        case Broken(at=at):
            assert state is not None
            return replace(state, deleted_at=at)


def announce(event: Made | Broken, after: ToyState, cause: Cause) -> Iterator[Output]:
    """Publish a new toy, and the id of a broken one."""
    match event:
        case Made(toy=toy):
            yield announcement("toy.made", toy.id, toy, after, cause)
        case Broken():
            yield announcement("toy.broken", after.toy.id, Gone(after.toy.id), after, cause)


TOY = Flow(
    kind=Kind(name="toy", state=ToyState, decide=decide, evolve=evolve),
    messages=Make | Break,
    commands="toy.commands",
    state="toy-state",
    public={"toy.made": Toy, "toy.broken": Gone},
    announce=announce,
    shown="toy",
    retention=timedelta(days=30),
)

T0 = datetime(2030, 1, 1, tzinfo=UTC)
