"""What every request goes through, outermost first: request id, timing and log; preflights; errors."""

import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import uuid4

from aiohttp import web
from prometheus_client import Counter, Histogram

from domain.errors import Rejected, TransientError
from streams.messages import UUID_PATTERN
from web.errors import error_response, http_error_response, rejection_response, unavailable_response
from web.keys import ANSWERED, CLUSTER_ID, REQUEST_ID, SETTINGS, STARTED, STREAM

log = logging.getLogger("clusterflow.api_server")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

REQUESTS = Counter("clusterflow_http_requests_total", "HTTP requests", ["method", "path", "status"])
DURATION = Histogram(
    "clusterflow_http_request_duration_seconds",
    "Time to the answer",
    ["method", "path"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
_ALLOW_METHODS: Final = "POST, OPTIONS, GET, PUT, DELETE"
_ALLOW_HEADERS: Final = (
    "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, accept, origin,"
    " Cache-Control, X-Requested-With, X-User-Email, X-Request-ID, If-Match, Idempotency-Key"
)
_EXPOSE_HEADERS: Final = "X-Request-ID, X-Response-Time, ETag, Location, Idempotent-Replayed"


@web.middleware
async def observed(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id, time it, count it, log it; a watch when it ends, timed to its beginning."""
    request[STARTED] = started = time.perf_counter()
    given = request.headers.get("X-Request-ID", "")
    request[REQUEST_ID] = given if _REQUEST_ID.fullmatch(given) else str(uuid4())
    response = await handler(request)
    elapsed = (request.get(ANSWERED) or time.perf_counter()) - started
    path, method = _template(request), request.method if request.method in _METHODS else "other"
    REQUESTS.labels(method, path, response.status).inc()
    DURATION.labels(method, path).observe(elapsed)
    if log.isEnabledFor(logging.INFO):
        log.info("request", extra=_access(request, response, path, elapsed))
    return response


async def stamp(request: web.Request, response: web.StreamResponse) -> None:
    """Put on what every answer carries, just before its headers are sent."""
    request[ANSWERED] = answered = time.perf_counter()
    headers = response.headers
    headers["X-Request-ID"] = request[REQUEST_ID]
    headers["X-Response-Time"] = f"{(answered - request[STARTED]) * 1000:.3f}ms"
    allowed = request.app[SETTINGS].cors_origins
    origin = request.headers.get("Origin", "")
    if "*" in allowed:
        headers["Access-Control-Allow-Origin"] = "*"
    else:
        headers["Vary"] = "Origin"
        if origin in allowed:
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Allow-Credentials"] = "true"
    headers["Access-Control-Allow-Methods"] = _ALLOW_METHODS
    headers["Access-Control-Allow-Headers"] = _ALLOW_HEADERS
    headers["Access-Control-Expose-Headers"] = _EXPOSE_HEADERS


def _access(
    request: web.Request, response: web.StreamResponse, path: str, elapsed: float
) -> dict[str, object]:
    return {
        "method": request.method,
        "route": path,
        "status": response.status,
        "duration_ms": round(elapsed * 1000, 3),
        "client_ip": request.remote,
        "user_agent": request.headers.get("User-Agent", "")[:256],
        "body_size": request.content_length or 0,
        "request_id": request[REQUEST_ID],
        "cluster_id": request.get(CLUSTER_ID) or _path_id(request),
        **({"user_email": _email(request)} if log.isEnabledFor(logging.DEBUG) else {}),
        **request.get(STREAM, {}),
    }


def _path_id(request: web.Request) -> str | None:
    """The cluster's id in the path; what is none may be anything."""
    given = request.match_info.get("id", "")
    return given.lower() if re.fullmatch(UUID_PATTERN, given) else None


def _email(request: web.Request) -> str:
    return request.headers.get("X-User-Email", "").strip()[:254]


def _template(request: web.Request) -> str:
    """The route's pattern; never the raw URL, which would make a label of everything a client sends."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unmatched"


@web.middleware
async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what browsers ask before they send a request from another origin."""
    return web.Response(status=204) if request.method == "OPTIONS" else await handler(request)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception into the one error shape; what nobody expected is logged and says nothing."""
    request_id = request[REQUEST_ID]
    try:
        return await handler(request)
    except Rejected as refusal:
        return rejection_response(refusal, request_id=request_id)
    except TransientError as error:
        return unavailable_response(error, request_id=request_id)
    except web.HTTPException as error:
        return http_error_response(error, request_id=request_id)
    except Exception:
        log.exception("request failed", extra={"request_id": request_id, "route": _template(request)})
        return error_response(500, "INTERNAL_ERROR", "Internal error", request_id=request_id)
