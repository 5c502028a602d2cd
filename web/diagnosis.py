"""Diagnoses over REST (operations contract, section 6)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
from aiohttp import web
from msgspec import Struct, UnsetType

from domain.checkup import Checkup, Diagnose
from domain.errors import Rejected, invalid
from serving.ids import new_id
from serving.kinds import Followed, Served
from streams.checkup import FLOW
from streams.json import encode
from tables.flat import FlatCluster
from web.cluster.kept import KEPT
from web.command_bodies import bodies
from web.described.operations import Answer, Operation, Route
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


_read: Final = bodies(Patient)
_read_checkup: Final = msgspec.json.Decoder(Checkup).decode


async def diagnose_cluster(request: web.Request) -> web.Response:
    """Diagnose a cluster; answered once that is stored.

    It is said what there is to say of its health, droplets and controllers, and what is recommended.
    """
    cluster_id = (await _read(request)).cluster_id
    if not cluster_id:
        raise invalid("cluster_id is required", field="cluster_id")
    flat = request.app[FLAT]
    if not await request.app[KEPT].exists(cluster_id) or (facts := flat.facts(cluster_id)) is None:
        raise _not_found()
    served = request.app[SERVED][CHECKUPS.flow.kind.name]
    command = Diagnose(id=cluster_id, command_id=new_id(), facts=facts)
    origin = {"request_id": request[REQUEST_STATE].request_id, **traced(request)}
    result = await served.writes.submit(command, origin=origin, keyed=False)
    assert not isinstance(result.document, UnsetType)
    checkup = _read_checkup(result.document)
    if (cluster := flat.cluster(cluster_id)) is None:  # it was deleted meanwhile
        raise _not_found()
    found = Diagnosed(cluster=cluster, insights=checkup.insights, recommendations=checkup.recommendations)
    return json_response(encode(found))


def _not_found() -> Rejected:
    return Rejected("RESOURCE_NOT_FOUND", "cluster not found")


def diagnosed(served: Mapping[str, Served], cluster_id: str) -> datetime | None:
    """When a cluster was diagnosed last; None if it is not known to have been."""
    entry = served[CHECKUPS.flow.kind.name].view.get(cluster_id)
    return None if entry is None else _read_checkup(entry.document).updated_at


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
)
