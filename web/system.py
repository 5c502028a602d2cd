"""What needs no identity: health and information about the service."""

from datetime import UTC, datetime

from aiohttp import web
from msgspec import convert

from streams.codec import encode
from web.documents import Component, Components, Health, Info
from web.errors import json_response
from web.keys import HEALTH, SETTINGS


async def health(request: web.Request) -> web.Response:
    """Whether writes and reads work: 503 without Kafka or tables; a missing database only degrades."""
    components = convert(await request.app[HEALTH].components(), Components)
    status: Component
    if "unhealthy" in (components.kafka, components.tables):
        status = "unhealthy"
    else:
        status = "healthy" if components.database == "healthy" else "degraded"
    body = Health(
        status=status,
        service=request.app[SETTINGS].service_name,
        components=components,
        timestamp=datetime.now(UTC),
    )
    return json_response(encode(body), status=503 if status == "unhealthy" else 200)


async def api_health(request: web.Request) -> web.Response:
    """The same under the path of the API: 503 without Kafka or tables; a missing database only degrades."""
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
