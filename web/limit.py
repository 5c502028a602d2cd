"""Limits as operators look at them and configure them (operations contract, sections 3.5 and 3.6)."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from aiohttp import web
from msgspec import Struct

from domain.errors import Rejected, invalid
from domain.limit import Capacity, Configure, Delete, Limit, Name, RefillRate, is_scope_id
from domain.rates import EVERYBODY, key_of
from serving.ids import new_id
from serving.kinds import Served
from serving.paging import cursor_after
from streams.json import encode
from streams.limit import FLOW
from tables.entries import ColumnFilter, KindEntry
from web.command_bodies import bodies
from web.described.operations import TEXT, Answer, Operation, Parameter, Route
from web.entities import traced
from web.http.errors import json_response
from web.keys import HEALTH, REQUEST_STATE, SERVED
from web.limiter.levels import Place
from web.limiter.limiter import LIMITER
from web.paging import place_of

PREFIX: Final = "limiter_config:"
"""Before the name and the scope, in the keys by which clients of the original know what is configured."""

LONGEST_PAGE: Final = 1000

TYPES: Final = ("user", "cluster")
"""The types of scopes, beside that of everybody."""


class LimitBody(Struct, kw_only=True):
    """What is to be configured, in which scope.

    Attributes:
        scope_type: `global`, `user` or `cluster`, or a whole scope as `user:alice`.
        scope_id: Of the user or cluster.
        refill_rate: Tokens a second; absent: as it is.
        capacity: Tokens that a bucket holds; absent: as it is.
    """

    name: Name
    scope_type: str = ""
    scope_id: str = ""
    refill_rate: RefillRate | None = None
    capacity: Capacity | None = None


class LimitRemoval(Struct, kw_only=True):
    """What is not to be configured any more: a key, or a name and a scope."""

    key: str = ""
    name: str = ""
    scope_type: str = ""
    scope_id: str = ""


class LimitStored(Struct, kw_only=True):
    """That it is configured, and under which key."""

    ok: bool = True
    config_key: str


class LimitRemoved(Struct, kw_only=True):
    """That it is not configured any more."""

    ok: bool = True
    deleted: str


class LimitValues(Struct, kw_only=True, omit_defaults=True):
    """What is configured, as decimal numbers with six places."""

    refill_rate: str | None = None
    capacity: str | None = None


class ShownLimit(Struct, kw_only=True):
    """What is configured for a limit in a scope."""

    name: str
    scope: str
    config: LimitValues


class ListedLimit(ShownLimit, kw_only=True):
    """The same in a list."""

    key: str


class LimitList(Struct, kw_only=True):
    """All that is configured."""

    count: int
    items: Sequence[ListedLimit]


class LimitLevel(Struct, kw_only=True):
    """How full a bucket is.

    Attributes:
        available: Tokens that there are now.
        rate_per_sec: Tokens that come back a second.
        backend: Who says so: `table`, `redis`, or `local` while Redis is away.
    """

    name: str
    scope: str
    available: float
    capacity: float
    rate_per_sec: float
    backend: str


_read_configured: Final = bodies(LimitBody)
_read_removed: Final = bodies(LimitRemoval)
_read_limit: Final = msgspec.json.Decoder(Limit).decode
_name: Final = msgspec.json.Decoder(Name)


# --- requests -----------------------------------------------------------------------------------------


def scope_of(type_: str, id: str) -> str:
    """The scope that a client names. Raises: Rejected: there is none like that."""
    kind, colon, inner = type_.partition(":")
    if type_ in ("", EVERYBODY):
        return EVERYBODY
    if kind not in TYPES:
        raise invalid("scope_type must be global, user or cluster", field="scope_type", value=type_)
    if not is_scope_id(found := inner if colon else id):
        raise invalid("scope_id must have 1 to 128 characters, no control characters", field="scope_id")
    return f"{kind}:{found}"


def _place(name: str, type_: str, id: str) -> Place:
    """A limit in a scope, as clients name them. Raises: Rejected: nothing is called so."""
    if not name:
        raise invalid("name is required", field="name")
    try:
        _name.decode(encode(name))
    except msgspec.ValidationError:
        text = "name must have 1 to 64 letters, digits, dots, underscores or hyphens"
        raise invalid(text, field="name", value=name) from None
    return Place(name, scope_of(type_, id))


def _asked(request: web.Request) -> Place:
    """The limit and the scope that a query names."""
    query = request.query
    return _place(query.get("name", ""), query.get("scope_type", ""), query.get("scope_id", ""))


def _place_of_key(key: str) -> Place:
    """The limit and the scope of a key. Raises: Rejected: it is no key of a configuration."""
    if not key.startswith(PREFIX):
        raise invalid(f"key must begin with {PREFIX}", field="key", value=key)
    name, _, scope = key.removeprefix(PREFIX).partition(":")
    return _place(name, scope or "none", "")


def _key(place: Place) -> str:
    return f"{PREFIX}{place.name}:{place.scope}"


def _limits(request: web.Request) -> Served:
    return request.app[SERVED][FLOW.kind.name]


async def _send(request: web.Request, command: Configure | Delete) -> None:
    origin = {"request_id": request[REQUEST_STATE].request_id, **traced(request)}
    await _limits(request).writes.submit(command, origin=origin, keyed=False)


# --- handlers -----------------------------------------------------------------------------------------


async def configure_limit(request: web.Request) -> web.Response:
    """Configure a limit in a scope; what is absent stays as it is.

    It counts at once, in every process, and for buckets that are there already.
    """
    body = await _read_configured(request)
    place = _place(body.name, body.scope_type, body.scope_id)
    if body.capacity is None and body.refill_rate is None:
        raise invalid("capacity or refill_rate is required", field="capacity")
    command = Configure(
        id=key_of(*place),
        command_id=new_id(),
        name=place.name,
        scope=place.scope,
        capacity=body.capacity,
        refill_rate=body.refill_rate,
    )
    await _send(request, command)
    return json_response(encode(LimitStored(config_key=_key(place))))


async def get_limit(request: web.Request) -> web.Response:
    """Show what is configured for a limit in a scope."""
    entry = await _limits(request).present(key_of(*_asked(request)))
    limit = _read_limit(entry.document)
    return json_response(encode(ShownLimit(name=limit.name, scope=limit.scope, config=_values(limit))))


async def list_limits(request: web.Request) -> web.Response:
    """List what is configured, newest first."""
    request.app[HEALTH].require_view()
    query = request.query
    name, type_, id = (query.get(each, "") for each in ("name", "scope_type", "scope_id"))
    wanted = scope_of(type_, id) if type_ and (id or type_ == EVERYBODY) else ""
    if type_ and not wanted and type_ not in TYPES:
        raise invalid("scope_type must be global, user or cluster", field="scope_type", value=type_)
    found, more = list[KindEntry](), None
    for entry in _after(request):
        if len(found) == LONGEST_PAGE:
            more = found[-1]
            break
        limit = _read_limit(entry.document)
        of_type = limit.scope == wanted if wanted else limit.scope.startswith(f"{type_}:" if type_ else "")
        if of_type and name in ("", limit.name):
            found.append(entry)
    response = json_response(encode(_listing(map(_read_limit, (each.document for each in found)))))
    if more is not None:
        response.headers["X-Next-Cursor"] = cursor_after(more)
    return response


async def remove_limit(request: web.Request) -> web.Response:
    """Have nothing configured for a limit in a scope any more; that nothing was is no fault."""
    body = await _read_removed(request)
    if not body.key and not body.name:
        raise invalid("key or name is required", field="key")
    place = _place_of_key(body.key) if body.key else _place(body.name, body.scope_type, body.scope_id)
    await _send(request, Delete(id=key_of(*place), command_id=new_id()))
    return json_response(encode(LimitRemoved(deleted=_key(place))))


async def show_limit(request: web.Request) -> web.Response:
    """Show how full a bucket is; one that nobody has used is full."""
    query = request.query
    type_, id = query.get("scope_type", ""), query.get("scope_id", "")
    place = _place(query.get("name", ""), type_ if id else "", id)
    limiter = request.app[LIMITER]
    if not limiter.knows(place.name):
        raise Rejected("RESOURCE_NOT_FOUND", "There is no limit of this name")
    tokens, rate, backend = await limiter.look(place)
    status = LimitLevel(
        name=place.name,
        scope=place.scope,
        available=tokens,
        capacity=rate.capacity,
        rate_per_sec=rate.refill_rate,
        backend=backend,
    )
    return json_response(encode(status))


def _after(request: web.Request) -> Iterable[KindEntry]:
    """What is configured behind the cursor of a request."""
    view, place = _limits(request).view, place_of(request)
    while page := view.after(ColumnFilter(), place, limit=LONGEST_PAGE):
        yield from page
        place = page[-1].place


def _listing(limits: Iterable[Limit]) -> LimitList:
    items = [
        ListedLimit(
            key=_key(Place(limit.name, limit.scope)),
            name=limit.name,
            scope=limit.scope,
            config=_values(limit),
        )
        for limit in limits
    ]
    return LimitList(count=len(items), items=items)


def _values(limit: Limit) -> LimitValues:
    rate, capacity = (
        None if value is None else f"{value:.6f}" for value in (limit.refill_rate, limit.capacity)
    )
    return LimitValues(refill_rate=rate, capacity=capacity)


# --- routes -------------------------------------------------------------------------------------------

_TAG: Final = "Limits"


def _parameter(name: str, about: str) -> Parameter:
    return Parameter(name=name, where="query", about=about, schema=TEXT, component=f"limit-{name}")


_QUERY: Final = (
    _parameter("name", "The name of the limit, as `jobs_create`"),
    _parameter("scope_type", "`global`, `user` or `cluster`"),
    _parameter("scope_id", "The id of the user or cluster"),
)
_CURSOR: Final = Parameter(
    name="cursor", where="query", about="`X-Next-Cursor` of the page before", schema=TEXT
)


def _routes(base: str, prefix: str) -> tuple[Route, ...]:
    """The routes behind a path, and the beginning of their names."""
    path = f"{base}/ratelimit"

    def answers(about: str, body: type, *headers: str) -> tuple[Answer, ...]:
        return (Answer(status=200, about=about, body=body, headers=headers),)

    configure = Operation(
        tag=_TAG,
        body=LimitBody,
        example={"name": "jobs_create", "scope_type": "user", "scope_id": "alice", "capacity": 10},
        answers=answers("It is configured", LimitStored),
        refusals=("UNAVAILABLE",),
        public=True,
    )
    get = Operation(
        tag=_TAG,
        parameters=_QUERY,
        answers=answers("What is configured", ShownLimit),
        refusals=("RESOURCE_NOT_FOUND", "UNAVAILABLE"),
        public=True,
    )
    listed = Operation(
        tag=_TAG,
        parameters=(*_QUERY, _CURSOR),
        answers=answers("What is configured", LimitList, "X-Next-Cursor"),
        refusals=("INVALID_PARAMETER", "UNAVAILABLE"),
        public=True,
    )
    remove = Operation(
        tag=_TAG,
        body=LimitRemoval,
        example={"key": "limiter_config:jobs_create:user:alice"},
        answers=answers("It is not configured", LimitRemoved),
        refusals=("UNAVAILABLE",),
        public=True,
    )
    show = Operation(
        tag=_TAG,
        parameters=_QUERY,
        answers=answers("How full it is", LimitLevel),
        refusals=("RESOURCE_NOT_FOUND", "UNAVAILABLE"),
        public=True,
    )
    routes = (
        Route("GET", path, show_limit, show),
        Route("POST", f"{path}/config", configure_limit, configure),
        Route("GET", f"{path}/config", get_limit, get),
        Route("DELETE", f"{path}/config", remove_limit, remove),
        Route("GET", f"{path}/config/list", list_limits, listed),
    )
    return tuple(route._replace(name=prefix + route.operation_id) for route in routes)


ROUTES: Final = _routes("/api/v1/observability", "")

PLAIN_ROUTES: Final = _routes("/observability", "plain_")
"""The same without `/api/v1` before them, as the original's documentation has them."""
