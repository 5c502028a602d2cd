"""`clusterflow config`: the settings in effect, written as they can be set again, secrets masked."""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import unquote

import msgspec
import typer
from pydantic import SecretStr

from settings import Settings
from streams.json import go_duration

MASK: Final = "***"

# Another name of a setting that is shown under its own.
_ALIASES: Final = {"pubsub_cluster_events_topic": "cluster_events_topic"}

_URL: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:(?P<user>[^:/?#@]*)(?P<password>:[^/?#@]*)?@)?"
    r"(?P<place>[^?#@]*)(?:\?(?P<query>[^?#@]*))?"
)

_HEADINGS: Final = {"environment": "from the environment", "default": "defaults", "unset": "not set"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting.

    Attributes:
        value: As a variable's text, masked where it is secret.
        source: `environment`, `default`, or `unset` for a default that is empty.
    """

    name: str
    value: str
    source: str


def entries(settings: Settings) -> list[Entry]:
    """All settings in the order of their names."""
    given = {_ALIASES.get(name, name) for name in settings.model_fields_set}
    shown = {name: getattr(settings, name) for name in Settings.model_fields if name not in _ALIASES}
    shown["cluster_events_topic"] = settings.events_topic
    return [_entry(name, shown[name], given=name in given) for name in sorted(shown)]


def _entry(name: str, value: Any, *, given: bool) -> Entry:
    text = as_text(value)
    return Entry(name.upper(), text, "environment" if given else "default" if text else "unset")


def as_text(value: Any) -> str:
    """A setting's value as the text of its variable, masked where it is secret."""
    match value:
        case None:
            return ""
        case SecretStr():
            return masked(value.get_secret_value())
        case bool():
            return str(value).lower()
        case timedelta():
            return go_duration(value)
        case tuple():
            return ",".join(value)
        case _:
            return str(value)


def masked(secret: str) -> str:
    """A secret without what is secret: of a URL its passwords, of anything else everything.

    A URL in which something is not escaped as it should be might end its password anywhere, so it counts as
    anything else.
    """
    match = _URL.fullmatch(secret)
    if match is None:
        return MASK if secret else ""
    user = f"{match['user']}{':' + MASK if match['password'] else ''}@" if match["user"] is not None else ""
    query = "&".join(map(_masked_parameter, match["query"].split("&"))) if match["query"] else ""
    return f"{match['scheme']}://{user}{match['place']}{'?' if query else ''}{query}"


def _masked_parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    return f"{name}={MASK}" if equals and "pass" in unquote(name).lower() else parameter


def show(settings: Settings, *, as_json: bool) -> None:
    """Print all settings; colours go where somebody sees them."""
    listed = entries(settings)
    if as_json:
        by_name = {entry.name: {"value": entry.value, "source": entry.source} for entry in listed}
        typer.echo(msgspec.json.format(msgspec.json.encode(by_name)))
        return
    typer.echo("\n\n".join(_section(source, listed) for source in _HEADINGS if _of(source, listed)))
    for variable, why in settings.warnings():
        typer.secho(f"{variable}: {why}", fg="yellow", err=True)


def _of(source: str, listed: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in listed if entry.source == source]


def _section(source: str, listed: Iterable[Entry]) -> str:
    heading = typer.style(f"# {_HEADINGS[source]}", dim=True)
    lines = (
        f"{typer.style(entry.name, fg='cyan')}={shlex.quote(entry.value) if entry.value else ''}"
        for entry in _of(source, listed)
    )
    return "\n".join((heading, *lines))
