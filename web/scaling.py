"""Policies of scaling over REST (operations contract, sections 1.5 and 2).

Their paths and answers are those of the original's clients: a policy is not wrapped, and a list is that of
one cluster.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from msgspec import Struct, structs

from domain.autoscale import TYPES, Replicas, ScalingPolicy, Type
from domain.errors import invalid
from domain.scaling import Cost, Create, Delete, Name, Trigger, Update, Word, made
from streams.json import encode
from streams.scaling import FLOW
from web.collection import STORED, Collection
from web.command_bodies import bodies, expected_version
from web.described import kind_parameters
from web.described.operations import Answer, Parameter, Route
from web.entities import Filtered
from web.http.errors import json_response
from web.keys import HEALTH
from web.shapes import Bare


class NewPolicy(Struct, kw_only=True):
    """What is wanted of the number of a cluster's droplets; what is not of its type is not read."""

    name: Name
    cluster_id: str = ""
    type: Type
    enabled: bool = True
    min_replicas: Replicas = 1
    max_replicas: Replicas = 3
    metric_type: Word = ""
    metric_trigger: Trigger = 0.0
    time_window: Word = ""
    cost_limit: Cost = 0.0


class PolicyChange(Struct, kw_only=True):
    """What is to be otherwise; what is absent stays."""

    name: Name | None = None
    type: Type | None = None
    enabled: bool | None = None
    min_replicas: Replicas | None = None
    max_replicas: Replicas | None = None
    metric_type: Word | None = None
    metric_trigger: Trigger | None = None
    time_window: Word | None = None
    cost_limit: Cost | None = None


class PolicyList(Struct, kw_only=True):
    """The policies of a cluster."""

    items: Sequence[ScalingPolicy]


class PolicyGone(Struct, kw_only=True):
    """That there is no such policy any more."""

    ok: bool = True
    deleted: str


class Plain(Bare):
    """Documents as they are, and errors as those of the operations contract."""

    slugs = False


POLICIES: Final = Collection(
    FLOW,
    "/api/v1/autoscaling/policies",
    tag="Autoscaling",
    document=ScalingPolicy,
    filters=(
        Filtered(name="cluster_id", values=None),
        Filtered(name="type", values=lambda policy: TYPES),
    ),
    fresh=True,
    shape=Plain(),
    grouped="cluster_id",
    prefix="policy-",
)

_read_new: Final = bodies(NewPolicy)
_read_change: Final = bodies(PolicyChange)

_EXAMPLE: Final = {
    "name": "by load",
    "cluster_id": "4fe1157b-ebd4-4ece-9f79-dd52c6504f4e",
    "type": "metrics",
    "max_replicas": 5,
    "metric_type": "cpu",
    "metric_trigger": 0.8,
}


async def create_policy(request: web.Request) -> web.Response:
    """Create a policy; answered once it exists."""
    body, who = await _read_new(request), POLICIES.new(request)
    if not body.cluster_id:
        raise invalid("cluster_id is required", field="cluster_id")
    members = structs.asdict(body)
    type_ = members.pop("type")
    create = Create(id=who.entity_id, command_id=who.command_id, policy_type=type_, **members)
    made(create, datetime.now(UTC))
    return await POLICIES.created(request, create, keyed=who.keyed)


async def list_policies(request: web.Request) -> web.Response:
    """List the policies of a cluster, oldest first."""
    request.app[HEALTH].require_view()
    cluster_id = request.query.get("cluster_id", "")
    if not cluster_id:
        raise invalid("cluster_id is required", field="cluster_id")
    found = [entry.document for entry in reversed(POLICIES.served(request).view.group(cluster_id))]
    return json_response(b'{"items":[%b]}' % b",".join(found))


async def update_policy(request: web.Request) -> web.Response:
    """Change a policy; what is absent stays as it is, and it stays with its cluster."""
    who, members = POLICIES.known(request), structs.asdict(await _read_change(request))
    update = Update(
        id=who.entity_id,
        command_id=who.command_id,
        expected_version=expected_version(request),
        policy_type=members.pop("type"),
        **members,
    )
    return await POLICIES.written(request, update)


async def delete_policy(request: web.Request) -> web.Response:
    """Delete a policy; takes effect at once."""
    who, expected = POLICIES.known(request), expected_version(request)
    command = Delete(id=who.entity_id, command_id=who.command_id, expected_version=expected)
    done = await POLICIES.gone(request, command)
    status = 202 if done.status == 202 else 200
    return json_response(encode(PolicyGone(deleted=who.entity_id)), status=status)


def _routes() -> tuple[Route, ...]:
    cluster = Parameter(
        name="cluster_id", where="query", about="Of this cluster; required", schema={"type": "string"}
    )
    shown = POLICIES.shown
    create = POLICIES.operation(
        parameters=(kind_parameters.KEY,),
        body=NewPolicy,
        example=_EXAMPLE,
        answers=(
            Answer(
                status=201, about="Created", body=shown, headers=("ETag", "Location", "Idempotent-Replayed")
            ),
            Answer(status=202, about=STORED, body=shown, headers=("Location",)),
        ),
        refusals=("CLUSTER_NOT_FOUND", "IDEMPOTENCY_CONFLICT", "UNAVAILABLE"),
    )
    listed = POLICIES.operation(
        parameters=(replace(cluster, component="cluster-of-policies"),),
        answers=(Answer(status=200, about="All of them", body=PolicyList),),
        refusals=("UNAVAILABLE",),
    )
    update = POLICIES.operation(
        parameters=(POLICIES.id_parameter, kind_parameters.IF_MATCH),
        body=PolicyChange,
        example={"enabled": False},
        answers=(
            Answer(status=200, about="Changed", body=shown, headers=("ETag",)),
            Answer(status=202, about=STORED, body=shown),
        ),
        refusals=("VERSION_MISMATCH", "UNAVAILABLE"),
    )
    gone = Answer(status=200, about="Deleted", body=PolicyGone)
    delete = POLICIES.operation(
        parameters=(POLICIES.id_parameter, kind_parameters.IF_MATCH),
        answers=(gone, replace(gone, status=202, about=STORED)),
        refusals=("VERSION_MISMATCH", "UNAVAILABLE"),
    )
    path, one = POLICIES.path, f"{POLICIES.path}/{{id:[^/]+}}"
    kind = POLICIES.kind
    return (
        Route("GET", path, list_policies, listed, kind=kind),
        Route("POST", path, create_policy, create, kind=kind),
        POLICIES.get()._replace(name="get_policy", about="One policy, or how it changes.", strict=False),
        Route("PUT", one, update_policy, update, kind=kind),
        Route("DELETE", one, delete_policy, delete, kind=kind),
    )


ROUTES: Final = _routes()
