"""The routes of clusters: method, path, handler, what it takes and answers."""

from typing import Final

from domain.cluster.state import Cluster
from streams.cluster.messages import ReportBody
from web.cluster import handlers, parameters, status
from web.cluster.bodies import CreateBody, UpdateBody
from web.cluster.documents import ClusterList, DeleteAccepted, ReportTaken, StatusView
from web.described.operations import (
    IDEMPOTENCY_KEY,
    LAST_EVENT_ID,
    LAST_EVENT_ID_QUERY,
    Answer,
    Operation,
    Route,
)

_WATCHING: Final = (parameters.WATCH, LAST_EVENT_ID, LAST_EVENT_ID_QUERY)
_SPEC: Final = {"platform": {"type": "gcp", "gcp": {"projectID": "demo", "region": "europe-west3"}}}

ROUTES: Final = (
    Route(
        "GET",
        "/api/v1/clusters",
        handlers.list_clusters,
        Operation(
            tag="Clusters",
            parameters=(
                parameters.LIMIT,
                parameters.OFFSET,
                parameters.PLATFORM,
                parameters.PHASE,
                parameters.CREATED_BY,
                *_WATCHING,
            ),
            answers=(Answer(status=200, about="A page, or the change feed", body=ClusterList, stream=True),),
            refusals=("VALIDATION_FAILED", "WATCH_EXPIRED", "TOO_MANY_WATCHES"),
        ),
    ),
    Route(
        "POST",
        "/api/v1/clusters",
        handlers.create_cluster,
        Operation(
            tag="Clusters",
            parameters=(IDEMPOTENCY_KEY,),
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
        handlers.get_cluster,
        Operation(
            tag="Clusters",
            parameters=(parameters.ID, *_WATCHING),
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
        handlers.update_cluster,
        Operation(
            tag="Clusters",
            parameters=(parameters.ID, parameters.IF_MATCH, IDEMPOTENCY_KEY),
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
        handlers.delete_cluster,
        Operation(
            tag="Clusters",
            parameters=(parameters.ID, parameters.FORCE, IDEMPOTENCY_KEY),
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
            parameters=(parameters.ID,),
            answers=(Answer(status=200, about="The status", body=StatusView, headers=("ETag",)),),
        ),
    ),
    Route(
        "PUT",
        "/api/v1/clusters/{id:[^/]+}/status",
        status.put_status,
        Operation(
            tag="Status",
            parameters=(parameters.ID, IDEMPOTENCY_KEY),
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
)
