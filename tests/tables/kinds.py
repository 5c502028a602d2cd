"""A toy kind: jars, which are filled, and listed by colour and owner, as any simple kind is."""

import json
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from domain.entity import Command, Kind, VersionedEntity, present
from domain.values import replace
from streams.flow import Flow
from streams.json import encode
from tables.entries import KindEntry, entries, grouped_by
from tables.view import View
from tests.tables.given import Record

START = datetime(2026, 1, 1, tzinfo=UTC)


class Jar(Struct, kw_only=True):
    """A jar as its readers see it."""

    id: str
    colour: str
    owner: str | None
    created_at: datetime
    label: str = ""


class JarState(VersionedEntity, frozen=True, kw_only=True):
    """The state of one jar."""

    jar: Jar


class Fill(Command, frozen=True, kw_only=True, tag="jar.fill"):
    """Fill a jar with what its label will say."""

    label: str


def decide(state: JarState | None, command: Fill, at: datetime) -> tuple[str]:
    """The label of a jar that is there."""
    present(state, command)
    return (command.label,)


def evolve(state: JarState | None, label: str) -> JarState:
    """The jar with a label."""
    assert state is not None
    return replace(state, jar=replace(state.jar, label=label))


FLOW = Flow(
    kind=Kind(name="jar", state=JarState, decide=decide, evolve=evolve),
    messages=Fill,
    commands="jar.commands",
    state="jar-state",
    shown="jar",
)


def jar_view() -> View[KindEntry]:
    """A view of all jars, counted by colour, grouped by owner."""
    columns = ("colour", "owner")
    return View(
        entries(shown="jar", columns=columns),
        counted=lambda entry: entry.columns[0] or "",
        grouped=grouped_by("owner", columns),
    )


def jar(
    id: str,
    *,
    colour: str = "red",
    owner: str | None = None,
    minute: int = 0,
    label: str = "",
    revision: int = 1,
    version: int = 1,
    deleted: bool = False,
) -> JarState:
    """The state of a jar that was made in this minute."""
    at = START + timedelta(minutes=minute)
    return JarState(
        revision=revision,
        version=version,
        deleted_at=at if deleted else None,
        offsets={"jar.commands#life": revision},
        recent=("a command",),
        jar=Jar(id=id, colour=colour, owner=owner, created_at=at, label=label),
    )


def record(state: JarState, offset: int = 0) -> Record:
    """Its record in the changelog."""
    return Record(state.jar.id.encode(), encode(state), offset=offset, topic="jar-state")


def id_of(document: bytes) -> str:
    """The id in a document."""
    return str(json.loads(document)["id"])
