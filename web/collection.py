"""One kind at the REST edge: its reads and writes, and the routes that describe themselves.

A kind says what its bodies are and which commands they become; the rest is the same for all. Reads are
answered from the view of the kind; where a collection is `fresh`, a read of one entity first waits until the
view holds all that was in the log when it came. So any process shows a write that any other has answered.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta, Struct, UnsetType

from domain.entity import EntityId
from domain.errors import Rejected
from domain.policy import Policy
from streams.decoding import decoder_of
from streams.flow import Flow
from streams.kafka.partitions import partition_of
from streams.reading.fresh import Freshness
from tables.entries import ColumnFilter, KindEntry, newest_first
from tables.feed import Feed, Watched
from tables.view import BEFORE_ALL, SortKey, View
from web.described.operations import (
    IDEMPOTENCY_KEY,
    LAST_EVENT_ID,
    LAST_EVENT_ID_QUERY,
    TEXT,
    Answer,
    Operation,
    Parameter,
    Route,
)
from web.http.bodies import body_of
from web.http.errors import json_response
from web.http.ids import new_entity_id
from web.http.pieces import ReadAnswer
from web.keys import HEALTH, REQUEST_STATE, SETTINGS, UNREAD
from web.requests import command_identity, etag, if_match, replayed, shown
from web.submit import WriteResult
from web.watch import WATCHES, is_watch
from web.writes import KindWrites

B = TypeVar("B", bound=Struct)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_BODY: Final = 256 * 1024
MAX_LIMIT: Final = 100
MAX_KEY: Final = 128
"""Characters of an `Idempotency-Key`."""

_ID: Final = re.compile(r"[A-Za-z0-9._:~-]{1,100}")
_LIMIT: Final = re.compile(r"[0-9]{1,3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What one process serves a kind from.

    Attributes:
        freshness: Lets reads wait for what was in the log when they came; None where the kind promises less.
        topic, partitions: Its changelog here.
    """

    view: View[KindEntry]
    feed: Feed[KindEntry]
    writes: KindWrites
    freshness: Freshness | None
    topic: str
    partitions: int


SERVED: Final = web.AppKey("served", dict[str, Served])
"""By kind, what this process serves it from."""


class Identity(NamedTuple):
    """Who a command is, and to which entity.

    Attributes:
        keyed: Whether an `Idempotency-Key` has made the id.
    """

    command_id: str
    entity_id: str
    keyed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Filtered:
    """A column that lists can be filtered by, and its values under a policy."""

    name: str
    values: Callable[[Policy], Sequence[str]]


class Collection:
    """A kind at the REST edge.

    Args:
        path: Of the list, without a trailing slash.
        tag: Its heading in the description.
        document: The type of what readers see.
        fresh: Whether reads of one entity show every write that was answered before, by any process.
    """

    def __init__(
        self,
        flow: Flow[Any, Any, Any],
        path: str,
        *,
        tag: str,
        document: type,
        filters: Sequence[Filtered] = (),
        fresh: bool = False,
    ) -> None:
        self.flow = flow
        self.path = path
        self.kind = flow.kind.name
        self.columns = tuple(each.name for each in filters)
        self.fresh = fresh
        self._tag = tag
        self._document = document
        self._filters = filters
        self._id = replace(_ID_PARAMETER, about=f"The id of the {self.kind}", component=f"{self.kind}-id")

    # --- reads ------------------------------------------------------------------------------------

    async def present(self, request: web.Request) -> KindEntry:
        """The entity of the path. Raises: Rejected: there is none. Unavailable: that is not known now."""
        served, entity_id = self._served(request), self._path_id(request)
        request.app[HEALTH].require_view()
        if served.freshness is not None:
            partition = partition_of(entity_id.encode(), served.partitions)
            await served.freshness.caught_up(served.topic, partition)
        entry = served.view.get(entity_id)
        if entry is None:
            raise _not_found()
        return entry

    def _served(self, request: web.Request) -> Served:
        return request.app[SERVED][self.kind]

    def _path_id(self, request: web.Request) -> str:
        """The id in the path. Raises: Rejected: no entity can have it."""
        entity_id = request.match_info["id"]
        if _ID.fullmatch(entity_id) is None:
            raise _not_found()
        return entity_id

    async def _get(self, request: web.Request) -> web.StreamResponse:
        served = self._served(request)
        if is_watch(request):
            wanted = Watched(self._everything, self._path_id(request))
            return await request.app[WATCHES].serve(request, _reader(request), served.feed, wanted)
        entry = await self.present(request)
        return shown(ReadAnswer((entry.document,), entry.version))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        served, wanted = self._served(request), self._filter(request)
        if is_watch(request):
            return await request.app[WATCHES].serve(request, _reader(request), served.feed, Watched(wanted))
        request.app[HEALTH].require_view()
        limit = _limit(request)
        found = served.view.after(wanted, _place(request), limit=limit + 1)
        page = _fitting(found[:limit], request.app[SETTINGS].max_unread_each)
        parts = [part for entry in page for part in (b",", entry.document)]
        response = shown(ReadAnswer((b"[", *parts[1:], b"]")))
        if len(page) < len(found):
            response.headers["X-Next-Cursor"] = _cursor(page[-1])
        return response

    @property
    def _everything(self) -> ColumnFilter:
        return ColumnFilter(None for _ in self.columns)

    def _filter(self, request: web.Request) -> ColumnFilter:
        policy = request.app[SETTINGS].policy
        given = [request.query.get(each.name) for each in self._filters]
        for each, value in zip(self._filters, given, strict=True):
            if value is not None and value not in (known := each.values(policy)):
                text = f"{each.name} must be one of {', '.join(known)}"
                raise Rejected("INVALID_PARAMETER", text, field=each.name)
        return ColumnFilter(given)

    # --- writes -----------------------------------------------------------------------------------

    def new(self, request: web.Request) -> Identity:
        """Who a create is, and the id of what it creates; the same for a repeat under one key."""
        command_id, keyed = command_identity(request, "", self.kind, "create", longest=MAX_KEY)
        identity = Identity(command_id, new_entity_id(command_id, self.kind), keyed)
        request[REQUEST_STATE].entity_id = identity.entity_id
        return identity

    def known(self, request: web.Request) -> Identity:
        """Who a command to the entity of the path is. Raises: Rejected: no entity can have that id."""
        entity_id = self._path_id(request)
        request[REQUEST_STATE].entity_id = entity_id
        return Identity(command_identity(request, "", self.kind, entity_id, longest=MAX_KEY)[0], entity_id)

    async def created(self, request: web.Request, command: Any, *, keyed: bool) -> web.Response:
        """Have a create decided; answer with what it has created."""
        result = await self._decided(request, command, keyed=keyed)
        return _answer(result, status=201, headers={"Location": f"{self.path}/{command.id}"})

    async def written(self, request: web.Request, command: Any) -> web.Response:
        """Have a command decided; answer with the entity as it is after it."""
        return _answer(await self._decided(request, command), status=200)

    async def gone(self, request: web.Request, command: Any) -> web.Response:
        """Have a delete decided."""
        await self._decided(request, command)
        return web.Response(status=204)

    async def _decided(self, request: web.Request, command: Any, *, keyed: bool = False) -> WriteResult:
        """Have a command decided whose answer shows an entity, about as long as the body that has come."""
        async with request.app[UNREAD].reserved(request.content.total_bytes):
            return await self._served(request).writes.submit(
                command, request_id=request[REQUEST_STATE].request_id, keyed=keyed
            )

    # --- routes -----------------------------------------------------------------------------------

    def list(self) -> Route:
        """GET of the list: a page, newest first, or the change feed."""
        plural = f"{self.kind}s"
        filters = [
            Parameter(
                name=each.name,
                where="query",
                about=f"Only {plural} of this {each.name}",
                schema=TEXT,
                component=f"{self.kind}-{each.name}",
            )
            for each in self._filters
        ]
        operation = self._operation(
            parameters=(_LIMIT_PARAMETER, _CURSOR_PARAMETER, *filters, *_WATCHING),
            answers=(
                Answer(
                    status=200,
                    about=f"A page of {plural}, newest first, or the change feed",
                    body=self._document,
                    many=True,
                    headers=("X-Next-Cursor",),
                    stream=True,
                ),
            ),
            refusals=("INVALID_PARAMETER", "WATCH_EXPIRED", "TOO_MANY_WATCHES"),
        )
        about = f"One page of {plural}, newest first; or all of them and how they change."
        return self._route("GET", "", _named(self._list, f"list_{plural}", about), operation)

    def get(self) -> Route:
        """GET of one entity, or its change feed."""
        answer = Answer(
            status=200,
            about=f"The {self.kind}, or its change feed",
            body=self._document,
            headers=("ETag",),
            stream=True,
        )
        operation = self._operation(
            parameters=(self._id, *_WATCHING),
            answers=(answer,),
            refusals=("WATCH_EXPIRED", "TOO_MANY_WATCHES"),
        )
        handler = _named(self._get, f"get_{self.kind}", f"One {self.kind}, or how it changes.")
        return self._route("GET", _ONE, handler, operation)

    def post(self, handler: Handler, *, body: type[Struct], example: Mapping[str, Any]) -> Route:
        """POST to the list."""
        answer = Answer(
            status=201,
            about="Created",
            body=self._document,
            headers=("ETag", "Location", "Idempotent-Replayed"),
        )
        operation = self._operation(
            parameters=(replace(IDEMPOTENCY_KEY, schema=_KEY_SCHEMA, component="kind-idempotency-key"),),
            body=body,
            example=example,
            answers=(answer,),
            refusals=("IDEMPOTENCY_CONFLICT",),
        )
        return self._route("POST", "", handler, operation)

    def put(self, handler: Handler, *, body: type[Struct], example: Mapping[str, Any]) -> Route:
        """PUT of one entity."""
        operation = self._operation(
            parameters=(self._id, _IF_MATCH_PARAMETER),
            body=body,
            example=example,
            answers=(Answer(status=200, about="Updated", body=self._document, headers=("ETag",)),),
            refusals=("VERSION_MISMATCH",),
        )
        return self._route("PUT", _ONE, handler, operation)

    def delete(self, command: Callable[..., Any]) -> Route:
        """DELETE of one entity by this command."""

        async def delete(request: web.Request) -> web.Response:
            who, expected = self.known(request), expected_version(request)
            made = command(id=who.entity_id, command_id=who.command_id, expected_version=expected)
            return await self.gone(request, made)

        operation = self._operation(
            parameters=(self._id, _IF_MATCH_PARAMETER),
            answers=(Answer(status=204, about="Deleted", media=""),),
            refusals=("VERSION_MISMATCH",),
        )
        about = f"Delete a {self.kind}; takes effect at once."
        return self._route("DELETE", _ONE, _named(delete, f"delete_{self.kind}", about), operation)

    def _operation(self, **members: Any) -> Operation:
        return Operation(tag=self._tag, public=True, slugs=True, **members)

    def _route(self, method: str, below: str, handler: Handler, operation: Operation) -> Route:
        return Route(method, self.path + below, handler, operation, kind=self.kind, strict=True)


# --- requests ---------------------------------------------------------------------------------------


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


def _not_found() -> Rejected:
    return Rejected("RESOURCE_NOT_FOUND", "Not found")


def _reader(request: web.Request) -> str:
    """Whose watches are counted together: simple kinds know no identities, so it is an address."""
    return f"@{request.remote}"


def _limit(request: web.Request) -> int:
    given = request.query.get("limit")
    if given is None:
        return MAX_LIMIT
    if _LIMIT.fullmatch(given) is None or not 1 <= int(given) <= MAX_LIMIT:
        raise Rejected("INVALID_PARAMETER", f"limit must be 1 to {MAX_LIMIT}", field="limit")
    return int(given)


class _Cursor(Struct, frozen=True, array_like=True):
    """The place of the last entity of a page."""

    created_at: Annotated[datetime, Meta(tz=True)]
    id: EntityId


_cursor_decoder: Final = msgspec.json.Decoder(_Cursor)


def _cursor(last: KindEntry) -> str:
    created_at = datetime.fromtimestamp(-last.place[0], UTC)
    return msgspec.json.encode(_Cursor(created_at, last.id)).hex()


def _place(request: web.Request) -> SortKey:
    """Where the page begins. Raises: Rejected: the cursor is none of ours."""
    given = request.query.get("cursor")
    if given is None:
        return BEFORE_ALL
    try:
        cursor = _cursor_decoder.decode(bytes.fromhex(given))
        return newest_first(cursor.created_at, cursor.id)
    except (ValueError, OverflowError, msgspec.MsgspecError):
        raise Rejected("INVALID_PARAMETER", "cursor is not one of ours", field="cursor") from None


def _fitting(entries: Sequence[KindEntry], most: int) -> Sequence[KindEntry]:
    """The first entries whose documents fit into that many bytes, or the first alone."""
    length = 0
    for number, entry in enumerate(entries):
        length += len(entry.document) + 1
        if length > most and number:
            return entries[:number]
    return entries


def _answer(result: WriteResult, *, status: int, headers: Mapping[str, str] | None = None) -> web.Response:
    assert not isinstance(result.document, UnsetType)
    own = {"ETag": etag(str(result.version)), **replayed(result), **(headers or {})}
    return json_response(bytes(result.document), status=status, headers=own)


def _named(handler: Handler, name: str, about: str) -> Handler:
    """A handler under a name and with a docstring of its own, which describe its operation."""

    async def named(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    named.__name__, named.__doc__ = name, about
    return named


_ONE: Final = "/{id:[^/]+}"
_ID_PARAMETER: Final = Parameter(name="id", where="path", about="", schema=TEXT)
_LIMIT_PARAMETER: Final = Parameter(
    name="limit",
    where="query",
    about="Most of them on a page, which is bounded in bytes as well",
    schema={"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": MAX_LIMIT},
    component="kind-limit",
)
_CURSOR_PARAMETER: Final = Parameter(
    name="cursor", where="query", about="`X-Next-Cursor` of the page before this one", schema=TEXT
)
_IF_MATCH_PARAMETER: Final = Parameter(
    name="If-Match",
    where="header",
    about="The `ETag` that the write builds on, or `*`; 412 when there is another one by now",
    schema={"type": "string", "pattern": r'^(\*|"[^"]*")$'},
    component="kind-if-match",
)
_WATCHING: Final = (
    Parameter(
        name="watch",
        where="query",
        about="`true` for the change feed instead of an answer",
        schema={"type": "string", "enum": ["true"]},
        component="kind-watch",
    ),
    LAST_EVENT_ID,
    LAST_EVENT_ID_QUERY,
)
_KEY_SCHEMA: Final[dict[str, Any]] = {"type": "string", "minLength": 1, "maxLength": MAX_KEY}
