"""One kind at the REST edge: how its reads and writes are answered.

Reads are answered from the view of the kind; where a collection is `fresh`, a read of one entity first waits
until the view holds all that was in the log when it came. So any process shows a write that any other has
answered.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web
from msgspec import Struct, UnsetType

from domain.entity import ENTITY_ID
from domain.errors import Rejected
from domain.ids import entity_id_of
from domain.policy import Policy
from serving.kinds import Served, not_found
from serving.paging import cursor_after
from serving.submit import WriteResult
from streams.flow import Flow
from streams.trace import TRACEPARENT, TRACESTATE, trace_named, trace_of
from tables.entries import ColumnFilter, KindEntry
from tables.feed import Watched
from web.command_bodies import members_of
from web.described import kind_parameters
from web.http.errors import json_response
from web.http.headers import TRACE_ID
from web.http.pieces import ReadAnswer
from web.http.unread import UNREAD
from web.keys import HEALTH, REQUEST_STATE, SERVED, SETTINGS
from web.paging import fitting, limit_of, place_of
from web.requests import command_identity, etag, replayed, shown
from web.shapes import Bare, Shape
from web.watch import WATCHES, is_watch

_ID: Final = re.compile(ENTITY_ID)


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
    """A column that lists can be filtered by.

    Attributes:
        values: Its values under a policy; None for any text.
        spelled: What else callers may say for some of its values.
    """

    name: str
    values: Callable[[Policy], Sequence[str]] | None
    spelled: Mapping[str, str] = field(default_factory=dict)


class Entities:
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
        watchable: Whether it has a change feed, whose documents are those of the view.
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
        watchable: bool = True,
    ) -> None:
        self.flow = flow
        self.path = path
        self.kind = flow.kind.name
        self.columns = tuple(each.name for each in filters)
        self.fresh = fresh
        self.shape = shape or Bare()
        self.grouped = grouped
        self.completed = completed
        self._prefix = prefix
        self.watchable = watchable
        self.tag = tag
        self.document = document
        self.check = check
        self._bodies: dict[tuple[tuple[Any, ...], ...], type[Struct]] = {}
        self.filters = filters
        about = f"The id of the {self.kind}"
        self.id_parameter = replace(kind_parameters.ID, about=about, component=f"{self.kind}-id")

    # --- reads ------------------------------------------------------------------------------------

    async def present(self, request: web.Request) -> KindEntry:
        """The entity of the path. Raises: Rejected: there is none. Unavailable: that is not known now."""
        return await self.served(request).present(self._path_id(request))

    def served(self, request: web.Request) -> Served:
        """What this process serves the kind from."""
        return request.app[SERVED][self.kind]

    def _path_id(self, request: web.Request) -> str:
        """The id in the path. Raises: Rejected: no entity can have it."""
        entity_id = request.match_info["id"]
        if _ID.fullmatch(entity_id) is None:
            raise not_found()
        return entity_id

    async def get_one(self, request: web.Request) -> web.StreamResponse:
        """Answer with the entity of the path, or with how it changes."""
        served = self.served(request)
        if self.watches(request):
            wanted = Watched(self._everything, self._path_id(request))
            return await request.app[WATCHES].serve(request, reader_of(request), served.feed, wanted)
        entry = await self.present(request)
        document = self.completed(request.app, entry.document)
        return shown(ReadAnswer(self.shape.one(document, "found"), entry.version))

    async def get_page(self, request: web.Request) -> web.StreamResponse:
        """Answer with a page of the list, or with how its entities change."""
        served, wanted = self.served(request), self.wanted(request)
        if self.watches(request):
            return await self.watched(request, wanted)
        request.app[HEALTH].require_view()
        limit = limit_of(request)
        found = served.view.after(wanted, place_of(request), limit=limit + 1)
        documents = (self.completed(request.app, entry.document) for entry in found[:limit])
        page = fitting(documents, request.app[SETTINGS].max_unread_each)
        response = shown(ReadAnswer(self.shape.many(page)))
        if len(page) < len(found):
            response.headers["X-Next-Cursor"] = cursor_after(found[len(page) - 1])
        return response

    def watches(self, request: web.Request) -> bool:
        """Whether a request is for the change feed."""
        return self.watchable and is_watch(request)

    async def watched(self, request: web.Request, wanted: ColumnFilter) -> web.StreamResponse:
        """Answer with how the entities change that a filter shows."""
        feed = self.served(request).feed
        return await request.app[WATCHES].serve(request, reader_of(request), feed, Watched(wanted))

    @property
    def _everything(self) -> ColumnFilter:
        return ColumnFilter(None for _ in self.columns)

    def wanted(self, request: web.Request) -> ColumnFilter:
        """What a list shall show. Raises: Rejected: `INVALID_PARAMETER`."""
        policy = request.app[SETTINGS].policy
        given = [request.query.get(each.name) for each in self.filters]
        for place, each in enumerate(self.filters):
            value = given[place] = each.spelled.get(given[place] or "", given[place])
            if value is None or each.values is None:
                continue
            if value not in (known := each.values(policy)):
                text = f"{each.name} must be one of {', '.join(known)}"
                raise Rejected("INVALID_PARAMETER", text, field=each.name)
        return ColumnFilter(given)

    def values_of(self, column: str, policy: Policy) -> Sequence[str]:
        """The values of a column that lists can be filtered by; none if there is no such column."""
        found = (each.values(policy) for each in self.filters if each.name == column and each.values)
        return next(found, ())

    def body_of(self, command: type[Any]) -> type[Struct]:
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
        body = b"".join(self.shape.one(self.completed(request.app, bytes(result.document)), done))
        if result.deferred:
            return json_response(body, status=202, headers=dict(headers or {}))
        own = {"ETag": etag(str(result.version)), **replayed(result), **(headers or {})}
        return json_response(body, status=status, headers=own)

    async def _decided(self, request: web.Request, command: Any, *, keyed: bool = False) -> WriteResult:
        """Have a command decided whose answer shows an entity, about as long as the body that has come."""
        origin = {"request_id": request[REQUEST_STATE].request_id, **traced(request)}
        async with request.app[UNREAD].reserved(request.content.total_bytes):
            return await self.served(request).writes.submit(command, origin=origin, keyed=keyed)


def reader_of(request: web.Request) -> str:
    """Whose watches are counted together: simple kinds know no identities, so it is an address."""
    return f"@{request.remote}"


def traced(request: web.Request) -> Mapping[str, str]:
    """The headers of the trace that a request belongs to; of a new one, if it came with none.

    Clients of operators may name theirs by `X-Trace-ID`, and each answer to a write does.
    """
    state, headers = request[REQUEST_STATE], request.headers
    if state.trace is None:
        parent, rest = (", ".join(headers.getall(name, ())) for name in (TRACEPARENT, TRACESTATE))
        named = headers.get(TRACE_ID)
        state.trace = trace_of(parent, rest) if parent or named is None else trace_named(named)
    return state.trace
