"""Requests to simple kinds as the commands they become: a body holds the command's own members."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from aiohttp import web
from msgspec import Struct, structs

from domain.entity import Command
from domain.errors import Rejected
from streams.decoding import decoder_of
from web.http.bodies import body_of
from web.requests import if_match

B = TypeVar("B", bound=Struct)

MAX_BODY: Final = 256 * 1024
"""Bytes of a body."""


def members_of(command: type[Any]) -> tuple[tuple[Any, ...], ...]:
    """The members of a command that not all commands have: name, type and, if there is one, default."""
    shared = {field.name for field in structs.fields(Command)}
    return tuple(
        (field.name, field.type) if field.required else (field.name, field.type, field.default)
        for field in structs.fields(command)
        if field.name not in shared
    )


def bodies(type_: type[B]) -> Callable[[web.Request], Awaitable[B]]:
    """A reader of bodies of a type. It raises Rejected: too large, no JSON object, or a wrong member."""
    decoder = decoder_of(type_)

    async def read(request: web.Request) -> B:
        return (await body_of(request, decoder, most=MAX_BODY)).meaning()

    return read


def expected_version(request: web.Request) -> int | None:
    """The version that `If-Match` names; None for any. Raises: Rejected: no entity ever has it."""
    version = if_match(request)
    if version is None:
        return None
    if not version.isascii() or not version.isdigit() or not 1 <= len(version) <= 18 or version[0] == "0":
        raise Rejected("VERSION_MISMATCH", "No version is called so; it is the number that ETag has")
    return int(version)
