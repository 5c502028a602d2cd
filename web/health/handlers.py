"""What needs no identity: health and information about the service."""

from datetime import UTC, datetime

from aiohttp import web
from msgspec import UNSET, convert

from streams.json import encode
from web.health.documents import Component, Components, Health, Info
from web.http.errors import json_response
from web.keys import HEALTH, SETTINGS


async def health(request: web.Request) -> web.Response:
    """Whether writes and reads work: 503 without Kafka or tables; degraded without database or workers.

    Kafka is unhealthy when no broker answers. It is degraded while some of its partitions have no leader that
    answers: `reason` tells which, writes to them are a 503, and everything else works.

    Workers count as missing when no result has come for `COMMAND_TIMEOUT` though writes were sent; then
    `components.worker` and `reason` are there, until a result comes.
    """
    known = request.app[HEALTH]
    components = convert(await known.components(), Components)
    faults = [fault for fault in (known.kafka_fault, known.outcomes.fault) if fault is not None]
    if known.outcomes.fault is not None:
        components.worker = "degraded"
    status: Component
    if "unhealthy" in (components.kafka, components.tables):
        status = "unhealthy"
    elif components.database == "healthy" and not faults:
        status = "healthy"
    else:
        status = "degraded"
    body = Health(
        status=status,
        service=request.app[SETTINGS].service_name,
        components=components,
        timestamp=datetime.now(UTC),
        reason="; ".join(faults) or UNSET,
    )
    return json_response(encode(body), status=503 if status == "unhealthy" else 200)


async def api_health(request: web.Request) -> web.Response:
    """The same below the path of the API: 503 without Kafka or tables, degraded without the rest."""
    return await health(request)


async def info(request: web.Request) -> web.Response:
    """Which build this is and where it runs."""
    settings = request.app[SETTINGS]
    body = Info(
        service=settings.service_name,
        version=settings.version,
        git_commit=settings.git_commit,
        build_time=settings.build_time,
        api_version="v1",
        environment=settings.environment,
    )
    return json_response(encode(body))
