"""What is told of each request: it is counted, timed, and a line in the log."""

import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from aiohttp import web
from prometheus_client import Counter, Histogram

from telemetry import logs
from web.keys import CLUSTER_ID, REQUEST_ID, STREAM
from web.reads import is_id

log = logging.getLogger("clusterflow.api_server")

REQUESTS = Counter("clusterflow_http_requests_total", "HTTP requests", ["method", "path", "status"])
DURATION = Histogram(
    "clusterflow_http_request_duration_seconds",
    "Time to the answer",
    ["method", "path"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})


def tell(request: web.Request, *, status: int, seconds: float) -> None:
    """Tell of a request that went through the router, and took so long to its answer's headers."""
    tell_of(
        request,
        route=route_of(request),
        status=status,
        seconds=seconds,
        request_id=request[REQUEST_ID],
        cluster_id=request.get(CLUSTER_ID) or _path_id(request),
        more=request.get(STREAM),
    )


def tell_of(
    request: web.Request,
    *,
    route: str,
    status: int,
    seconds: float,
    request_id: str,
    cluster_id: str | None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Tell of any request, whose `route` is a pattern and never what was asked for."""
    method = request.method
    count, observe = _meters(method if method in _METHODS else "other", route, status)
    count()
    observe(seconds)
    if not log.isEnabledFor(logging.INFO):
        return
    line: dict[str, Any] = {
        "method": method,
        "route": route,
        "status": status,
        "duration_ms": round(seconds * 1000, 3),
        "client_ip": request.remote,
        "user_agent": _text(request.headers.get("User-Agent", ""), 256),
        "body_size": request.content_length or 0,
        "request_id": request_id,
        "cluster_id": cluster_id,
    }
    if more:
        line |= more
    if log.isEnabledFor(logging.DEBUG):
        line["user_email"] = _text(request.headers.get("X-User-Email", "").strip(), 254)
    logs.tell(log, "request", line)


def route_of(request: web.Request) -> str:
    """The route's pattern; never the raw URL, which would make a label of everything a client sends."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unmatched"


@cache  # as many as there are routes, methods and statuses; looking labels up costs ten times as much
def _meters(method: str, route: str, status: int) -> tuple[Callable[[], None], Callable[[float], None]]:
    return REQUESTS.labels(method, route, status).inc, DURATION.labels(method, route).observe


def _path_id(request: web.Request) -> str | None:
    """The cluster's id in the path; what is none may be anything."""
    given = request.match_info.get("id", "")
    return given.lower() if is_id(given) else None


def _text(given: str, most: int) -> str:
    """A header that may hold any bytes, as text that can be encoded."""
    return given[:most] if given.isascii() else given[:most].encode(errors="replace").decode()
