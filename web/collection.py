"""One kind at the REST edge: its reads and writes, and the routes that describe themselves.

A kind says what its bodies are and which commands they become; the rest is the same for all. Reads are
answered from the view of the kind; where a collection is `fresh`, a read of one entity first waits until the
view holds all that was in the log when it came. So any process shows a write that any other has answered.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web
from msgspec import Struct, UnsetType, structs

from domain.entity import ENTITY_ID
from domain.errors import Rejected
from domain.ids import entity_id_of
from domain.policy import Policy
from serving.kinds import Served, not_found
from serving.paging import cursor_after
from serving.submit import WriteResult
from streams.flow import Flow
from streams.trace import TRACEPARENT, TRACESTATE, trace_of
from tables.entries import ColumnFilter, KindEntry
from tables.feed import Watched
from web.command_bodies import bodies, expected_version, members_of
from web.described import kind_parameters
from web.described.operations import (
    TEXT,
    Answer,
    Operation,
    Parameter,
    Route,
)
from web.http.errors import json_response
from web.http.pieces import ReadAnswer
from web.http.unread import UNREAD
from web.keys import HEALTH, REQUEST_STATE, SERVED, SETTINGS
from web.paging import fitting, limit_of, place_of
from web.requests import command_identity, etag, replayed, shown
from web.shapes import Bare, Shape
from web.watch import WATCHES, is_watch

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Codes = tuple[str, ...]

_ID: Final = re.compile(ENTITY_ID)
_ONE: Final = "/{id:[^/]+}"
_STORED: Final = "Stored while Kafka is away, and decided once it is back (`WRITE_FALLBACK=outbox`)"


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
    """A column that lists can be filtered by, and its values under a policy; None for any text."""

    name: str
    values: Callable[[Policy], Sequence[str]] | None


class Collection:
    """A kind at the REST edge.

    Args:
        path: Of the list, without a trailing slash.
        tag: Its heading in the description.
        document: The type of what readers see.
        check: Raises Rejected for a write that its rules would refuse whatever the state is, so that it does
            not enter the stream.
        fresh: Whether reads of one entity show every write that was answered before, by any process.
        shape: The shape of its answers; documents as they are unless said otherwise.
        grouped: The column by which entities are found together; empty for none.
        completed: Adds to a document what other kinds know about it.
        prefix: With what the ids of new entities begin.
    """

    def __init__(
        self,
        flow: Flow[Any, Any, Any],
        path: str,
        *,
        tag: str,
        document: type,
        check: Callable[[Any, Policy], None] = lambda command, policy: None,
        filters: Sequence[Filtered] = (),
        fresh: bool = False,
        shape: Shape | None = None,
        grouped: str = "",
        completed: Callable[[web.Application, bytes], bytes] = lambda app, document: document,
        prefix: str = "",
    ) -> None:
        self.flow = flow
        self.path = path
        self.kind = flow.kind.name
        self.columns = tuple(each.name for each in filters)
        self.fresh = fresh
        self.shape = shape or Bare()
        self.grouped = grouped
        self._completed = completed
        self._prefix = prefix
        self._tag = tag
        self._document = document
        self._check = check
        self._bodies: dict[tuple[tuple[Any, ...], ...], type[Struct]] = {}
        self._filters = filters
        about = f"The id of the {self.kind}"
        self._id = replace(kind_parameters.ID, about=about, component=f"{self.kind}-id")

    # --- reads ------------------------------------------------------------------------------------

    async def present(self, request: web.Request) -> KindEntry:
        """The entity of the path. Raises: Rejected: there is none. Unavailable: that is not known now."""
        return await self._served(request).present(self._path_id(request))

    def _served(self, request: web.Request) -> Served:
        return request.app[SERVED][self.kind]

    def _path_id(self, request: web.Request) -> str:
        """The id in the path. Raises: Rejected: no entity can have it."""
        entity_id = request.match_info["id"]
        if _ID.fullmatch(entity_id) is None:
            raise not_found()
        return entity_id

    async def _get(self, request: web.Request) -> web.StreamResponse:
        served = self._served(request)
        if is_watch(request):
            wanted = Watched(self._everything, self._path_id(request))
            return await request.app[WATCHES].serve(request, _reader(request), served.feed, wanted)
        entry = await self.present(request)
        document = self._completed(request.app, entry.document)
        return shown(ReadAnswer(self.shape.one(document, "found"), entry.version))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        served, wanted = self._served(request), self._filter(request)
        if is_watch(request):
            return await request.app[WATCHES].serve(request, _reader(request), served.feed, Watched(wanted))
        request.app[HEALTH].require_view()
        limit = limit_of(request)
        found = served.view.after(wanted, place_of(request), limit=limit + 1)
        documents = (self._completed(request.app, entry.document) for entry in found[:limit])
        page = fitting(documents, request.app[SETTINGS].max_unread_each)
        response = shown(ReadAnswer(self.shape.many(page)))
        if len(page) < len(found):
            response.headers["X-Next-Cursor"] = cursor_after(found[len(page) - 1])
        return response

    @property
    def _everything(self) -> ColumnFilter:
        return ColumnFilter(None for _ in self.columns)

    def _filter(self, request: web.Request) -> ColumnFilter:
        policy = request.app[SETTINGS].policy
        given = [request.query.get(each.name) for each in self._filters]
        for each, value in zip(self._filters, given, strict=True):
            if value is None or each.values is None:
                continue
            if value not in (known := each.values(policy)):
                text = f"{each.name} must be one of {', '.join(known)}"
                raise Rejected("INVALID_PARAMETER", text, field=each.name)
        return ColumnFilter(given)

    def values_of(self, column: str, policy: Policy) -> Sequence[str]:
        """The values of a column that lists can be filtered by; none if there is no such column."""
        found = (each.values(policy) for each in self._filters if each.name == column and each.values)
        return next(found, ())

    def _body(self, command: type[Any]) -> type[Struct]:
        """The type of the bodies that a command is made of, the same for commands of the same members.

        Descriptions refer to it by name: the first is named after the kind, others after their command, too.
        """
        members = members_of(command)
        if members not in self._bodies:
            about = {"__doc__": f"What is said of a {self.kind}."}
            which = command.__name__ if self._bodies else ""
            name = f"{self.kind.capitalize()}{which}Body"
            self._bodies[members] = msgspec.defstruct(name, members, kw_only=True, namespace=about)
        return self._bodies[members]

    # --- writes -----------------------------------------------------------------------------------

    def new(self, request: web.Request) -> Identity:
        """Who a create is, and the id of what it creates; the same for a repeat under one key."""
        command_id, keyed = command_identity(
            request, "", self.kind, "create", longest=kind_parameters.MAX_KEY
        )
        identity = Identity(command_id, self._prefix + entity_id_of(command_id, self.kind), keyed)
        request[REQUEST_STATE].entity_id = identity.entity_id
        return identity

    def known(self, request: web.Request) -> Identity:
        """Who a command to the entity of the path is. Raises: Rejected: no entity can have that id."""
        entity_id = self._path_id(request)
        request[REQUEST_STATE].entity_id = entity_id
        operation = (self.kind, request.method, entity_id)
        command_id, _ = command_identity(request, "", *operation, longest=kind_parameters.MAX_KEY)
        return Identity(command_id, entity_id)

    async def created(self, request: web.Request, command: Any, *, keyed: bool) -> web.Response:
        """Have a create decided; answer with what it has created."""
        result = await self._decided(request, command, keyed=keyed)
        headers = {"Location": f"{request.path.rstrip('/')}/{command.id}"}
        return self._answer(request, result, "created", status=201, headers=headers)

    async def written(self, request: web.Request, command: Any) -> web.Response:
        """Have a command decided; answer with the entity as it is after it."""
        return self._answer(request, await self._decided(request, command), "updated", status=200)

    async def gone(self, request: web.Request, command: Any) -> web.Response:
        """Have a delete decided."""
        result = await self._decided(request, command)
        body = self.shape.gone()
        if body is None:
            return web.Response(status=202 if result.deferred else 204)
        return json_response(body, status=202 if result.deferred else 200)

    def _answer(
        self,
        request: web.Request,
        result: WriteResult,
        done: str,
        *,
        status: int,
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        assert not isinstance(result.document, UnsetType)
        body = b"".join(self.shape.one(self._completed(request.app, bytes(result.document)), done))
        if result.deferred:
            return json_response(body, status=202, headers=dict(headers or {}))
        own = {"ETag": etag(str(result.version)), **replayed(result), **(headers or {})}
        return json_response(body, status=status, headers=own)

    async def _decided(self, request: web.Request, command: Any, *, keyed: bool = False) -> WriteResult:
        """Have a command decided whose answer shows an entity, about as long as the body that has come."""
        state = request[REQUEST_STATE]
        given = [", ".join(request.headers.getall(name, ())) for name in (TRACEPARENT, TRACESTATE)]
        state.trace = trace_of(*given)
        origin = {"request_id": state.request_id, **state.trace}
        async with request.app[UNREAD].reserved(request.content.total_bytes):
            return await self._served(request).writes.submit(command, origin=origin, keyed=keyed)

    # --- routes -----------------------------------------------------------------------------------
    # `refusals` are codes that only the rules of this kind raise, `about` is a sentence for the description.

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
            parameters=(kind_parameters.LIMIT, kind_parameters.CURSOR, *filters, *kind_parameters.WATCHING),
            answers=(
                self.shape.page(self._document, f"A page of {plural}, newest first, or the change feed"),
            ),
            refusals=("INVALID_PARAMETER", "WATCH_EXPIRED", "TOO_MANY_WATCHES"),
        )
        about = f"One page of {plural}, newest first; or all of them and how they change."
        return self._route("GET", "", self._list, operation, name=f"list_{plural}", about=about)

    def get(self) -> Route:
        """GET of one entity, or its change feed."""
        answer = Answer(
            status=200,
            about=f"The {self.kind}, or its change feed",
            body=self._shown,
            headers=("ETag",),
            stream=True,
        )
        operation = self._operation(
            parameters=(self._id, *kind_parameters.WATCHING),
            answers=(answer,),
            refusals=("WATCH_EXPIRED", "TOO_MANY_WATCHES"),
        )
        about = f"One {self.kind}, or how it changes."
        return self._route("GET", _ONE, self._get, operation, name=f"get_{self.kind}", about=about)

    def post(
        self, command: type[Any], *, example: Mapping[str, Any], refusals: Codes = (), about: str = ""
    ) -> Route:
        """POST to the list by this command, whose own members are the body."""
        body = self._body(command)
        read = bodies(body)

        async def create(request: web.Request) -> web.Response:
            members, who = structs.asdict(await read(request)), self.new(request)
            made = command(id=who.entity_id, command_id=who.command_id, **members)
            self._check(made, request.app[SETTINGS].policy)
            return await self.created(request, made, keyed=who.keyed)

        answer = Answer(
            status=201,
            about="Created",
            body=self._shown,
            headers=("ETag", "Location", "Idempotent-Replayed"),
        )
        operation = self._operation(
            parameters=(kind_parameters.KEY,),
            body=body,
            example=example,
            answers=(answer, Answer(status=202, about=_STORED, body=self._shown, headers=("Location",))),
            refusals=("IDEMPOTENCY_CONFLICT", *refusals),
        )
        about = about or f"Create a {self.kind}; answered once it exists."
        return self._route("POST", "", create, operation, name=f"create_{self.kind}", about=about)

    def put(
        self, command: type[Any], *, example: Mapping[str, Any], refusals: Codes = (), about: str = ""
    ) -> Route:
        """PUT of one entity by this command, whose own members are the body."""
        body = self._body(command)
        read = bodies(body)

        async def update(request: web.Request) -> web.Response:
            who, members = self.known(request), structs.asdict(await read(request))
            ids = {"id": who.entity_id, "command_id": who.command_id}
            made = command(**ids, expected_version=expected_version(request), **members)
            self._check(made, request.app[SETTINGS].policy)
            return await self.written(request, made)

        operation = self._operation(
            parameters=(self._id, kind_parameters.IF_MATCH),
            body=body,
            example=example,
            answers=(
                Answer(status=200, about="Updated", body=self._shown, headers=("ETag",)),
                Answer(status=202, about=_STORED, body=self._shown),
            ),
            refusals=("VERSION_MISMATCH", *refusals),
        )
        about = about or f"Replace a {self.kind}; with `If-Match` only if nobody else has since it was read."
        return self._route("PUT", _ONE, update, operation, name=f"update_{self.kind}", about=about)

    def delete(self, command: Callable[..., Any], *, refusals: Codes = (), about: str = "") -> Route:
        """DELETE of one entity by this command."""

        async def delete(request: web.Request) -> web.Response:
            who, expected = self.known(request), expected_version(request)
            made = command(id=who.entity_id, command_id=who.command_id, expected_version=expected)
            return await self.gone(request, made)

        operation = self._operation(
            parameters=(self._id, kind_parameters.IF_MATCH),
            answers=(
                deleted := self.shape.deleted(),
                replace(deleted, status=202, about=_STORED),
            ),
            refusals=("VERSION_MISMATCH", *refusals),
        )
        about = about or f"Delete a {self.kind}; takes effect at once."
        return self._route("DELETE", _ONE, delete, operation, name=f"delete_{self.kind}", about=about)

    def _operation(self, **members: Any) -> Operation:
        return Operation(tag=self._tag, public=True, slugs=self.shape.slugs, **members)

    @property
    def _shown(self) -> type:
        """The type of an answer that shows one entity."""
        return self.shape.one_type(self._document)

    def _route(
        self, method: str, below: str, handler: Handler, operation: Operation, *, name: str, about: str
    ) -> Route:
        return Route(
            method,
            self.path + below,
            handler,
            operation,
            kind=self.kind,
            strict=True,
            name=name,
            about=about,
        )


def _reader(request: web.Request) -> str:
    """Whose watches are counted together: simple kinds know no identities, so it is an address."""
    return f"@{request.remote}"
