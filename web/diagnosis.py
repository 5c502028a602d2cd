"""Diagnoses over REST (operations contract, section 6)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
from aiohttp import web
from msgspec import Struct, UnsetType

from domain.checkup import Check, Checkup, Diagnose
from domain.diagnosis import Facts
from domain.errors import Rejected, invalid
from domain.health import Health
from serving.ids import new_id
from serving.kinds import Followed, Served
from streams.checkup import FLOW
from streams.json import encode
from tables.flat import FlatCluster
from web.cluster.kept import KEPT
from web.command_bodies import bodies
from web.described.operations import TEXT, Answer, Operation, Parameter, Route
from web.entities import traced
from web.flat import FLAT
from web.http.errors import json_response
from web.keys import REQUEST_STATE, SERVED
from web.limiter.limiter import limited

CHECKUPS: Final = Followed(FLOW)


class Patient(Struct, kw_only=True):
    """Which cluster is to be diagnosed."""

    cluster_id: str = ""


class Diagnosed(Struct, kw_only=True):
    """What is to be said of a cluster, and what is recommended, each in order."""

    cluster: FlatCluster
    insights: Sequence[str]
    recommendations: Sequence[str]


class HealthCheck(Struct, kw_only=True):
    """How a cluster is, and what makes it so."""

    cluster_id: str
    status: Health
    issues: Sequence[str]
    timestamp: datetime


_read: Final = bodies(Patient)
_read_checkup: Final = msgspec.json.Decoder(Checkup).decode


async def diagnose_cluster(request: web.Request) -> web.Response:
    """Diagnose a cluster; answered once that is stored.

    It is said what there is to say of its health, droplets and controllers, and what is recommended.
    """
    cluster_id = (await _read(request)).cluster_id
    if not cluster_id:
        raise invalid("cluster_id is required", field="cluster_id")
    facts = await _facts(request, cluster_id)
    checkup = await _looked(request, Diagnose(id=cluster_id, command_id=new_id(), facts=facts))
    if (cluster := request.app[FLAT].cluster(cluster_id)) is None:  # it was deleted meanwhile
        raise _not_found()
    found = Diagnosed(cluster=cluster, insights=checkup.insights, recommendations=checkup.recommendations)
    return json_response(encode(found))


async def check_health(request: web.Request) -> web.Response:
    """Check the health of a cluster by its newest samples; answered once that is stored.

    A sample counts for five minutes. Without any the cluster is as its phase or its operators say.
    """
    cluster_id = request.match_info["id"]
    facts = await _facts(request, cluster_id, unchecked=True)
    checkup = await _looked(request, Check(id=cluster_id, command_id=new_id(), facts=facts))
    assert checkup.health is not None
    found = HealthCheck(
        cluster_id=cluster_id, status=checkup.health, issues=checkup.issues, timestamp=checkup.updated_at
    )
    return json_response(encode(found))


async def _facts(request: web.Request, cluster_id: str, *, unchecked: bool = False) -> Facts:
    """What is known of a cluster. Raises: Rejected: there is none."""
    if await request.app[KEPT].exists(cluster_id):
        facts = request.app[FLAT].facts(cluster_id, unchecked=unchecked)
        if facts is not None:
            return facts
    raise _not_found()


async def _looked(request: web.Request, command: Diagnose | Check) -> Checkup:
    """The checkup after a command."""
    served = request.app[SERVED][CHECKUPS.flow.kind.name]
    origin = {"request_id": request[REQUEST_STATE].request_id, **traced(request)}
    result = await served.writes.submit(command, origin=origin, keyed=False)
    assert not isinstance(result.document, UnsetType)
    return _read_checkup(result.document)


def _not_found() -> Rejected:
    return Rejected("RESOURCE_NOT_FOUND", "cluster not found")


def checkup_of(served: Mapping[str, Served], cluster_id: str) -> Checkup | None:
    """The last look at a cluster; None if none is known."""
    entry = served[CHECKUPS.flow.kind.name].view.get(cluster_id)
    return None if entry is None else _read_checkup(entry.document)


CLUSTER: Final = Parameter(
    name="id", where="path", about="The id of the cluster", schema=TEXT, component="cluster-of-health"
)

ROUTES: Final = (
    limited(
        "diagnosis",
        Route(
            "POST",
            "/api/v1/diagnosis/diagnose",
            diagnose_cluster,
            Operation(
                tag="Diagnosis",
                body=Patient,
                example={"cluster_id": "4fe1157b-ebd4-4ece-9f79-dd52c6504f4e"},
                answers=(Answer(status=200, about="What was found", body=Diagnosed),),
                refusals=("RESOURCE_NOT_FOUND",),
                public=True,
            ),
        ),
    ),
    Route(
        "GET",
        "/api/v1/health/{id:[^/]+}",
        check_health,
        Operation(
            tag="Monitoring",
            parameters=(CLUSTER,),
            answers=(Answer(status=200, about="How it is", body=HealthCheck),),
            refusals=("RESOURCE_NOT_FOUND", "UNAVAILABLE"),
            public=True,
        ),
    ),
)
