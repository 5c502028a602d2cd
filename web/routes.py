"""Method, path, handler, what it takes and answers: the API on one page, and the source of `/openapi.json`.

A trailing slash reaches the same resource; HEAD is answered as GET, without the body.
"""

from typing import Final

from aiohttp import web

from domain.cluster.state import Cluster
from streams.cluster.messages import ReportBody
from web import clusters, status
from web.bodies import CreateBody, UpdateBody
from web.described import operations, pages
from web.described.operations import HTML, Answer, Operation, Route
from web.documents import ClusterList, DeleteAccepted, Health, Info, ReportTaken, StatusView
from web.health import handlers as system

_WATCHING: Final = (operations.WATCH, operations.LAST_EVENT_ID, operations.LAST_EVENT_ID_QUERY)
_SPEC: Final = {"platform": {"type": "gcp", "gcp": {"projectID": "demo", "region": "europe-west3"}}}

_HEALTH: Final = Operation(
    tag="Service",
    answers=(
        Answer(status=200, about="Healthy or degraded", body=Health),
        Answer(status=503, about="Unhealthy", body=Health),
    ),
    public=True,
)


ROUTES: Final = (
    Route(
        "GET",
        "/api/v1/clusters",
        clusters.list_clusters,
        Operation(
            tag="Clusters",
            parameters=(
                operations.LIMIT,
                operations.OFFSET,
                operations.PLATFORM,
                operations.PHASE,
                operations.CREATED_BY,
                *_WATCHING,
            ),
            answers=(Answer(status=200, about="A page, or the change feed", body=ClusterList, stream=True),),
            refusals=("VALIDATION_FAILED", "WATCH_EXPIRED", "TOO_MANY_WATCHES"),
        ),
    ),
    Route(
        "POST",
        "/api/v1/clusters",
        clusters.create_cluster,
        Operation(
            tag="Clusters",
            parameters=(operations.IDEMPOTENCY_KEY,),
            body=CreateBody,
            example={"name": "demo", "spec": _SPEC},
            answers=(
                Answer(
                    status=201,
                    about="Created",
                    body=Cluster,
                    headers=("ETag", "Location", "Idempotent-Replayed"),
                ),
            ),
            refusals=("INVALID_SPEC", "CLUSTER_NAME_EXISTS", "RESOURCE_CONFLICT"),
        ),
    ),
    Route(
        "GET",
        "/api/v1/clusters/{id:[^/]+}",
        clusters.get_cluster,
        Operation(
            tag="Clusters",
            parameters=(operations.ID, *_WATCHING),
            answers=(
                Answer(
                    status=200,
                    about="The cluster, or its change feed",
                    body=Cluster,
                    headers=("ETag",),
                    stream=True,
                ),
            ),
            refusals=("WATCH_EXPIRED", "TOO_MANY_WATCHES"),
        ),
    ),
    Route(
        "PUT",
        "/api/v1/clusters/{id:[^/]+}",
        clusters.update_cluster,
        Operation(
            tag="Clusters",
            parameters=(operations.ID, operations.IF_MATCH, operations.IDEMPOTENCY_KEY),
            body=UpdateBody,
            example={"spec": _SPEC},
            answers=(
                Answer(status=200, about="Updated", body=Cluster, headers=("ETag", "Idempotent-Replayed")),
            ),
            refusals=("INVALID_SPEC", "GENERATION_CONFLICT"),
        ),
    ),
    Route(
        "DELETE",
        "/api/v1/clusters/{id:[^/]+}",
        clusters.delete_cluster,
        Operation(
            tag="Clusters",
            parameters=(operations.ID, operations.FORCE, operations.IDEMPOTENCY_KEY),
            answers=(
                Answer(status=202, about="Deleted", body=DeleteAccepted, headers=("Idempotent-Replayed",)),
            ),
            refusals=("CLUSTER_NOT_DELETABLE",),
        ),
    ),
    Route(
        "GET",
        "/api/v1/clusters/{id:[^/]+}/status",
        status.get_status,
        Operation(
            tag="Status",
            parameters=(operations.ID,),
            answers=(Answer(status=200, about="The status", body=StatusView, headers=("ETag",)),),
        ),
    ),
    Route(
        "PUT",
        "/api/v1/clusters/{id:[^/]+}/status",
        status.put_status,
        Operation(
            tag="Status",
            parameters=(operations.ID, operations.IDEMPOTENCY_KEY),
            body=ReportBody,
            example={
                "controller_name": "dns",
                "observed_generation": 1,
                "conditions": [{"type": "Available", "status": "True", "reason": "Done"}],
            },
            answers=(
                Answer(status=200, about="Stored, or older than what is stored", body=ReportTaken),
                Answer(status=202, about="Taken, but not confirmed in time", body=ReportTaken),
            ),
            refusals=("FORBIDDEN", "RESOURCE_CONFLICT"),
        ),
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


def add_routes(app: web.Application) -> None:
    """Route every path, with and without a trailing slash."""
    for ending in ("", "/"):
        for method, path, handler, _ in ROUTES:
            if path.endswith("/") and ending:
                continue  # it is its own trailing slash
            resource = app.router.add_resource(path + ending)  # one for all methods: neighbours share it
            for verb in (method, "HEAD") if method == "GET" else (method,):
                resource.add_route(verb, handler, expect_handler=_expected)


async def _expected(request: web.Request) -> None:
    """Let a waiting client go on; other expectations are passed over (RFC 9110, section 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # or aiohttp takes the headers of the answer as sent
