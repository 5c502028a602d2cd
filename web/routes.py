"""Every route of the API, and the source of `/openapi.json`: those of each kind, and what is about none.

A trailing slash reaches the same resource; HEAD is answered as GET, without the body.
"""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from web import autoscaling, diagnosis, droplet, hello, job, limit, resource, samples, scaling, task
from web.cluster import flat
from web.cluster import routes as cluster
from web.described import operations, pages
from web.described.operations import HTML, Answer, Operation, Route
from web.health import handlers as system
from web.health.documents import Health, Info
from web.keys import KINDS
from web.limiter import limiter

_HEALTH: Final = Operation(
    tag="Service",
    answers=(
        Answer(status=200, about="Healthy or degraded", body=Health),
        Answer(status=503, about="Unhealthy", body=Health),
    ),
    public=True,
)


FOLLOWED: Final = (
    diagnosis.CHECKUPS,
    samples.SAMPLES,
    autoscaling.AUTOSCALERS,
    *limiter.FOLLOWED,
)
"""Kinds that are not shown themselves, and tell something of others."""

COLLECTIONS: Final = (resource.RESOURCES, task.TASKS, droplet.DROPLETS, job.JOBS, scaling.POLICIES)
"""The simple kinds at the edge."""

OPERATORS: Final = "/genie"
"""Before the paths of a second mount: clients of operators can be told what precedes `/api/v1`, no more."""


def mounted(routes: Sequence[Route]) -> tuple[Route, ...]:
    """The same routes on the second mount."""
    return tuple(
        route._replace(path=OPERATORS + route.path, name=f"operators_{route.operation_id}")
        for route in routes
    )


ROUTES: Final = (
    *cluster.ROUTES,
    *resource.ROUTES,
    *task.ROUTES,
    *droplet.ROUTES,
    *hello.ROUTES,
    *flat.ROUTES,
    *job.ROUTES,
    *diagnosis.ROUTES,
    *samples.ROUTES,
    *limit.ROUTES,
    *limit.PLAIN_ROUTES,
    *scaling.ROUTES,
    *autoscaling.ROUTES,
    *mounted(
        (
            *droplet.ROUTES,
            *hello.ROUTES,
            *diagnosis.ROUTES,
            *samples.ROUTES,
            *limit.ROUTES,
            *scaling.ROUTES,
            *autoscaling.ROUTES,
        )
    ),
    Route(
        "GET",
        "/api/v1/info",
        system.info,
        Operation(tag="Service", answers=(Answer(status=200, about="The build", body=Info),), public=True),
    ),
    Route("GET", "/health", system.health, _HEALTH),
    Route("GET", "/api/v1/health", system.api_health, _HEALTH),
    Route(
        "GET",
        "/",
        pages.start,
        Operation(tag="Descriptions", answers=(Answer(status=200, about="A page", media=HTML),), public=True),
    ),
    Route(
        "GET",
        "/openapi.json",
        pages.openapi,
        Operation(tag="Descriptions", answers=(Answer(status=200, about="OpenAPI 3.1"),), public=True),
    ),
    Route(
        "GET",
        "/asyncapi.json",
        pages.asyncapi,
        Operation(tag="Descriptions", answers=(Answer(status=200, about="AsyncAPI 3.0"),), public=True),
    ),
    Route(
        "GET",
        "/docs",
        pages.rest,
        Operation(tag="Descriptions", answers=(Answer(status=200, about="A page", media=HTML),), public=True),
    ),
    Route(
        "GET",
        "/docs/topics",
        pages.topics,
        Operation(tag="Descriptions", answers=(Answer(status=200, about="A page", media=HTML),), public=True),
    ),
    Route(
        "GET",
        "/docs/{file:[^/]+}",
        pages.asset,
        Operation(
            tag="Descriptions",
            parameters=(operations.FILE,),
            answers=(Answer(status=200, about="The file", media=operations.ANY),),
            refusals=("RESOURCE_NOT_FOUND",),
            public=True,
        ),
    ),
)


def add_routes(app: web.Application, routes: Sequence[Route] = ROUTES) -> None:
    """Route every path, with and without a trailing slash."""
    app[KINDS] = kinds = dict[str, str]()
    for ending in ("", "/"):
        for route in routes:
            if ending and (route.strict or route.path.endswith("/")):
                continue  # there is no such path, or it is its own trailing slash
            resource = app.router.add_resource(
                route.path + ending
            )  # one for all methods: neighbours share it
            if route.kind is not None:
                kinds[resource.canonical] = route.kind
            for verb in (route.method, "HEAD") if route.method == "GET" else (route.method,):
                resource.add_route(verb, route.handler, expect_handler=_expected)


async def _expected(request: web.Request) -> None:
    """Let a waiting client go on; other expectations are passed over (RFC 9110, section 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # or aiohttp takes the headers of the answer as sent
