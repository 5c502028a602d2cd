"""Lets a request through, or turns it away, by the limit of its route (operations contract, section 3.2)."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import wraps
from math import ceil, floor
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec import Struct

from domain.errors import Rejected, invalid
from domain.limit import Limit, is_scope_id
from domain.rates import EVERYBODY, MAX_SCOPE_ID, Rate, full_after, key_of, retry_after
from serving.kinds import Followed, Served
from streams.bucket import FLOW as BUCKETS
from streams.limit import FLOW as LIMITS
from web.described.operations import RATE_LIMIT, Route
from web.http.bodies import kept_body
from web.http.headers import once_as_text
from web.keys import HEALTH, REQUEST_STATE
from web.limiter.backends import LOCAL, Backend, Table
from web.limiter.levels import Levels, Place
from web.limiter.meters import Meters
from web.limiter.valkey import Valkey
from web.limits import Default, LimiterName, LimiterSettings, ScopeType

FOLLOWED: Final = (Followed(LIMITS), Followed(BUCKETS))
"""The kinds that a limiter reads and writes."""

SHOWN_EVERY: Final = 2.0
"""Seconds between two looks at how full buckets are."""

USER_ID: Final = "X-User-ID"

UNKNOWN: Final = Rate(capacity=5.0, refill_rate=0.2)
"""Of a limit that has no defaults."""


class _Probe(Struct):
    """What a body says of its cluster; nothing else of it is read."""

    cluster_id: Any = None
    parameters: Any = None


_read_limit: Final = msgspec.json.Decoder(Limit).decode
_read_probe: Final = msgspec.json.Decoder(_Probe).decode


class Limiter:
    """The limits of all routes.

    Args:
        served: The kinds of this process; of them, what operators have configured.
        levels: What this process knows of buckets.
    """

    def __init__(
        self,
        defaults: Mapping[str, Default],
        served: Mapping[str, Served],
        backend: Backend,
        levels: Levels,
    ) -> None:
        self._defaults = defaults
        self._served = served
        self._backend = backend
        self._levels = levels
        self._meters = Meters()

    def knows(self, name: str) -> bool:
        """Whether there is a limit of this name: one of a route, or one that is configured for all."""
        return name in self._defaults or self._configured(Place(name, EVERYBODY)) is not None

    def rate(self, place: Place) -> Rate:
        """How fast it may go in a scope: as configured for it, else for all, else as the settings say."""
        default = self._defaults.get(place.name)
        found = UNKNOWN if default is None else default.rate
        for scope in dict.fromkeys((EVERYBODY, place.scope)):
            if (limit := self._configured(Place(place.name, scope))) is not None:
                found = Rate(
                    found.capacity if limit.capacity is None else limit.capacity,
                    found.refill_rate if limit.refill_rate is None else limit.refill_rate,
                )
        return found

    def _configured(self, place: Place) -> Limit | None:
        """What operators have configured for exactly this scope."""
        entry = self._served[LIMITS.kind.name].view.get(key_of(*place))
        return None if entry is None else _read_limit(entry.document)

    async def admit(self, request: web.Request, name: LimiterName) -> None:
        """Let a request through. Raises: Rejected: `RATE_LIMITED`. Unavailable: nobody can tell now."""
        request.app[HEALTH].require_view()  # of what is configured
        place = Place(name, await self._scope(request, self._defaults[name].scope_type))
        rate, state = self.rate(place), request[REQUEST_STATE]
        decision = await self._backend.take(place, rate, request_id=state.request_id)
        allowed, tokens = decision.taken
        if decision.backend != LOCAL:  # which has noted what it granted, and knows nothing else
            self._levels.note(place, tokens, rate)
        self._meters.show(place, tokens)
        state.limit = headers = _headers(tokens, rate)
        if not allowed:
            self._meters.exceeded(place)
            if (seconds := retry_after(tokens, rate)) is not None:
                headers["Retry-After"] = str(seconds)
            raise Rejected("RATE_LIMITED", "rate limit exceeded")

    async def look(self, place: Place) -> tuple[float, Rate, str]:
        """The tokens of a bucket, its rate, and who says so; nothing is changed by looking."""
        rate = self.rate(place)
        tokens, backend = await self._backend.look(place, rate)
        return tokens, rate, backend

    async def show(self) -> None:
        """Keep the gauges of buckets right, until cancelled."""
        while True:
            self._meters.show_all(self._levels.known())
            await asyncio.sleep(SHOWN_EVERY)

    async def close(self, app: web.Application) -> None:
        """Let go of what the back end holds open."""
        await self._backend.close()

    async def _scope(self, request: web.Request, scope_type: ScopeType) -> str:
        match scope_type:
            case "global":
                return EVERYBODY
            case "user":
                return _scoped("user", once_as_text(request.headers, USER_ID), field=USER_ID)
            case "cluster":
                return _scoped("cluster", _cluster_of(await kept_body(request)), field="cluster_id")


LIMITER: Final = web.AppKey("limiter", Limiter)


def limiter_of(settings: LimiterSettings, prefix: str, served: Mapping[str, Served]) -> Limiter:
    """The limits of a process.

    Args:
        prefix: Of the keys in Valkey, which deployments may share.
        served: The kinds of this limiter among them.
    """
    levels = Levels()
    backend: Backend = (
        Valkey(settings.redis_url, prefix=prefix, levels=levels, on_error=settings.on_redis_error)
        if settings.redis_url
        else Table(served)
    )
    return Limiter(settings.defaults, served, backend, levels)


def limited(name: LimiterName, route: Route) -> Route:
    """A route whose requests are let through by a limit, and which says so.

    Nothing of a request is checked before, so one that is refused for another reason costs a token, too.
    """

    @wraps(route.handler)
    async def admitted(request: web.Request) -> web.StreamResponse:
        await request.app[LIMITER].admit(request, name)
        return await route.handler(request)

    operation = route.operation
    answers = tuple(replace(each, headers=(*each.headers, *RATE_LIMIT)) for each in operation.answers)
    refusals = tuple(dict.fromkeys((*operation.refusals, "RATE_LIMITED", "UNAVAILABLE")))
    return route._replace(handler=admitted, operation=replace(operation, answers=answers, refusals=refusals))


def _scoped(kind: str, id: object, *, field: str) -> str:
    """The scope of an id; that of everybody if there is none. Raises: Rejected: nobody is called so."""
    if not isinstance(id, str) or not id:
        return EVERYBODY
    if not is_scope_id(id):
        raise invalid(
            f"{field} must have at most {MAX_SCOPE_ID} characters, no control characters", field=field
        )
    return f"{kind}:{id}"


def _cluster_of(body: bytes) -> object:
    """The cluster that a body names, among its parameters or beside them; None if it cannot be read."""
    try:
        probe = _read_probe(body)
    except msgspec.MsgspecError:
        return None
    inner = probe.parameters.get("cluster_id") if isinstance(probe.parameters, dict) else None
    return inner if isinstance(inner, str) and inner else probe.cluster_id


def _headers(tokens: float, rate: Rate) -> dict[str, str]:
    """What callers are told of a bucket; when it is full only if it ever will be."""
    limit, remaining, reset = RATE_LIMIT
    headers = {limit: str(floor(rate.capacity)), remaining: str(floor(tokens))}
    if (seconds := full_after(tokens, rate)) is not None:
        headers[reset] = str(ceil(time.time() + seconds))
    return headers
