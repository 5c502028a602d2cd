"""Records each request: counts it, times it, and writes its access-log line."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web
from aiohttp.hdrs import USER_AGENT

from streams.trace import trace_id
from telemetry import logs
from web.http.headers import BLANKS, encodable
from web.http.ids import is_id
from web.http.meters import METERS
from web.keys import KINDS, REQUEST_STATE

log = logging.getLogger("clusterflow.api_server")

UNMATCHED: Final = "unmatched"
"""The route of a request that matches none."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})


def log_request(request: web.Request, *, status: int, seconds: float) -> None:
    """Record a request that went through the router; `seconds` end at the headers of its answer."""
    state, route = request[REQUEST_STATE], route_of(request)
    traced = {"trace_id": trace_id(state.trace)} if state.trace else {}
    log_exchange(
        request,
        route=route,
        status=status,
        seconds=seconds,
        request_id=state.request_id,
        entity_id=state.entity_id or _path_id(request),
        kind=request.app[KINDS].get(route),
        body_size=request.content_length or 0,
        more={**traced, **(state.stream or {})},
    )


def log_exchange(
    request: web.BaseRequest,
    *,
    route: str,
    status: int,
    seconds: float,
    request_id: str,
    entity_id: str | None,
    kind: str | None = None,
    body_size: int,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Record any request; `route` is a pattern, never the path of the request itself.

    Args:
        kind: The kind of the route; None for clusters, whose lines have always named the id `cluster_id`.
    """
    method = request.method
    METERS.count(method if method in _METHODS else "other", route, status, seconds)
    if not log.isEnabledFor(logging.INFO):
        return
    line: dict[str, Any] = {
        "method": method,
        "route": route,
        "status": status,
        "duration_ms": int(seconds * 1e6 + 0.5) / 1000,
        "client_ip": request.remote,
        "user_agent": _text(request.headers.get(USER_AGENT, ""), 256),
        "body_size": body_size,
        "request_id": request_id,
    }
    if kind is None:
        line["cluster_id"] = entity_id
    else:
        line["kind"], line["entity_id"] = kind, entity_id
    if more:
        line |= more
    if log.isEnabledFor(logging.DEBUG):
        line["user_email"] = _text(request.headers.get("X-User-Email", "").strip(BLANKS), 254)
    logs.write_line(log, "request", line)


def route_of(request: web.Request) -> str:
    """The route's pattern; never the raw URL, which would turn everything a client sends into a label."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else UNMATCHED


def _path_id(request: web.Request) -> str | None:
    """The entity's id in the path; None if the path holds something else in its place."""
    given = request.match_info.get("id", "")
    return given.lower() if is_id(given) else None


def _text(given: str, most: int) -> str:
    """The beginning of a header that may hold any bytes, as text that can be encoded."""
    return encodable(given[:most])
