"""Evaluations of policies over REST (operations contract, section 7)."""

from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import web
from msgspec import Struct, UnsetType

from domain.autoscale import Decision
from domain.autoscaler import Autoscaler, Evaluate
from domain.errors import Rejected, invalid
from domain.measures import known
from domain.policy import Policy
from serving.ids import new_id
from serving.kinds import Followed
from streams.autoscaler import autoscaler_flow
from streams.json import encode
from web.cluster.kept import KEPT
from web.described.operations import TEXT, Answer, Operation, Parameter, Route
from web.entities import traced
from web.http.errors import json_response
from web.keys import REQUEST_STATE, SERVED
from web.samples import newest

AUTOSCALERS: Final = Followed(autoscaler_flow(Policy()))


class Evaluation(Struct, kw_only=True):
    """What the policies of a cluster have led to.

    Attributes:
        evaluated: How many it has, disabled ones among them.
        actions: What was done, in words.
        decisions: What became of each policy that is enabled and had something to say.
    """

    cluster_id: str
    evaluated: int
    actions: Sequence[str]
    decisions: Sequence[Decision]


_read: Final = msgspec.json.Decoder(Autoscaler).decode


async def evaluate_policies(request: web.Request) -> web.Response:
    """Evaluate the policies of a cluster now, and do what they want."""
    cluster_id = request.query.get("cluster_id", "")
    if not cluster_id:
        raise invalid("cluster_id is required", field="cluster_id")
    if not await request.app[KEPT].exists(cluster_id):
        raise Rejected("RESOURCE_NOT_FOUND", "cluster not found")
    served = request.app[SERVED]
    samples = known(newest(served, cluster_id))
    command = Evaluate(id=cluster_id, command_id=new_id(), samples=samples)
    origin = {"request_id": request[REQUEST_STATE].request_id, **traced(request)}
    result = await served[AUTOSCALERS.flow.kind.name].writes.submit(command, origin=origin, keyed=False)
    evaluation = Evaluation(cluster_id=cluster_id, evaluated=0, actions=(), decisions=())
    if not isinstance(result.document, UnsetType):  # else it has no policies
        found = _read(result.document)
        evaluation = Evaluation(
            cluster_id=cluster_id,
            evaluated=found.evaluated,
            actions=found.actions,
            decisions=found.decisions,
        )
    return json_response(encode(evaluation))


ROUTES: Final = (
    Route(
        "POST",
        "/api/v1/autoscaling/evaluate",
        evaluate_policies,
        Operation(
            tag="Autoscaling",
            parameters=(
                Parameter(
                    name="cluster_id",
                    where="query",
                    about="Of this cluster; required",
                    schema=TEXT,
                    component="cluster-to-scale",
                ),
            ),
            answers=(Answer(status=200, about="What was done", body=Evaluation),),
            refusals=("RESOURCE_NOT_FOUND", "UNAVAILABLE"),
            public=True,
        ),
    ),
)
