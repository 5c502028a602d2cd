"""A toy kind: jars, listed by colour and owner, whose states are read as those of any simple kind."""

import json
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from domain.entity import VersionedEntity
from streams.codec import encode
from tables.entries import KindEntry, entries
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


def jar_view() -> View[KindEntry]:
    """A view of all jars, counted by colour."""
    return View(
        entries(shown="jar", columns=("colour", "owner")), counted=lambda entry: entry.columns[0] or ""
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
