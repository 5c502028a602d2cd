"""Clusters as operators read and write them (operations contract, sections 2 and 15).

Each is six fields (`tables/flat.py`), wrapped as all answers of that contract. A write is one of the
ordinary commands: a region is a member of the spec, and a delete asks nobody twice.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec import Struct

from domain.cluster.commands import Delete, SetHealth, Update
from domain.errors import Rejected, invalid, not_found
from domain.health import Health
from serving.ids import new_id
from serving.submit import WriteResult
from streams.decoding import decoder_of
from streams.json import encode
from tables.cluster import Filter
from tables.flat import FlatCluster
from tables.view import BEFORE_ALL, SortKey
from web.cluster import parameters
from web.cluster.handlers import absence, behind, create, said_by, shown_spec
from web.cluster.keys import FEED, READS, WRITES
from web.cluster.reads import PageQuery
from web.described import kind_parameters
from web.described.operations import IDEMPOTENCY_KEY, Answer, Operation, Route
from web.flat import FLAT
from web.http.bodies import body_of
from web.http.errors import json_response
from web.http.identity import caller
from web.http.pieces import ReadAnswer
from web.keys import HEALTH, SETTINGS
from web.paging import fitting
from web.requests import command_identity, path_id, replayed, shown
from web.shapes import Message, Wrapped

PATH: Final = "/genie/api/v1/clusters"
MOST: Final = 1000
"""Clusters on a page."""

STATUSES: Final[Mapping[str, Health | None]] = {
    "healthy": "healthy",
    "warning": "warning",
    "critical": "critical",
    "auto": None,
}
"""What operators may say of a cluster; `auto` takes it back."""

TRIES: Final = 5
"""Of an update that somebody else's has overtaken."""

RETRY_AFTER: Final = 0.05
"""Seconds in which this process comes to show what has overtaken it."""

_SHAPE: Final = Wrapped("cluster")


class FlatCreate(Struct, kw_only=True):
    """What an operator says of a new cluster."""

    name: str
    region: str


class FlatUpdate(Struct, kw_only=True):
    """What an operator changes; what is empty stays as it is."""

    name: str | None = ""
    region: str | None = ""
    status: str | None = ""


_create_decoder = decoder_of(FlatCreate)
_update_decoder = decoder_of(FlatUpdate)
_place_decoder = msgspec.json.Decoder(tuple[float, str])


async def list_flat_clusters(request: web.Request) -> web.StreamResponse:
    """The clusters the caller may see, newest first."""
    email = caller(request)
    request.app[HEALTH].require_view()
    wanted: Filter = request.app[READS].filter(email, PageQuery.of({}))
    found = request.app[FEED].view.after(wanted, _place_of(request), limit=MOST + 1)
    documents = (_flat(request, entry.id) for entry in found[:MOST])
    page = fitting(documents, request.app[SETTINGS].max_unread_each)
    response = shown(ReadAnswer(_SHAPE.many(page)))
    if len(page) < len(found):
        response.headers["X-Next-Cursor"] = msgspec.json.encode(found[len(page) - 1].place).hex()
    return response


def _place_of(request: web.Request) -> SortKey:
    """Where the page begins. Raises: Rejected: the cursor is none of ours."""
    given = request.query.get("cursor")
    if given is None:
        return BEFORE_ALL
    try:
        return _place_decoder.decode(bytes.fromhex(given))
    except (ValueError, msgspec.MsgspecError):
        raise Rejected("INVALID_PARAMETER", "cursor is not one of ours", field="cursor") from None


async def get_flat_cluster(request: web.Request) -> web.StreamResponse:
    """One cluster."""
    entry = request.app[READS].entry(caller(request), _path_id(request))
    return shown(ReadAnswer(_SHAPE.one(_flat(request, entry.id), "found"), entry.version))


async def create_flat_cluster(request: web.Request) -> web.Response:
    """Create a cluster on the platform of this deployment; answered once it exists."""
    email = caller(request)
    body = (await body_of(request, _create_decoder)).meaning()
    if not body.region.strip():
        raise invalid("region is required", field="region")
    spec: dict[str, object] = {"platform": {"type": _platform(request)}, "region": body.region.strip()}
    result, cluster_id = await create(request, email, body.name, spec)
    return _answer(request, cluster_id, result, "created", status=201)


async def update_flat_cluster(request: web.Request) -> web.Response:
    """Change the region of a cluster, or say how it is.

    A `status` counts until the next one, whatever the phase of the cluster says; `auto` takes it back.
    """
    email = caller(request)
    cluster_id = _path_id(request)
    body = (await body_of(request, _update_decoder)).meaning()
    entry = request.app[READS].entry(email, cluster_id)
    known = request.app[FLAT].cluster(entry.id)
    if known is not None and body.name and body.name != known.name:
        raise invalid("name can't be changed", field="name", value=body.name)
    status = body.status or ""
    if status and status not in STATUSES:
        text = f"status must be one of {', '.join(STATUSES)}"
        raise invalid(text, field="status", value=status)
    if body.region and body.region.strip():
        result = await _moved(request, email, cluster_id, body.region.strip())
    if status:
        result = await _judged(request, email, cluster_id, STATUSES[status])
    if not status and not (body.region or "").strip():
        return json_response(b"".join(_SHAPE.one(_flat(request, entry.id), "updated")))
    return _answer(request, cluster_id, result, "updated")


async def _moved(request: web.Request, email: str, cluster_id: str, region: str) -> WriteResult:
    """Replace the region of a cluster, and nothing that anybody else has written meanwhile."""
    for left in reversed(range(TRIES)):
        command = Update(
            **said_by(request, email, cluster_id, new_id()),
            spec={**shown_spec(request, email), "region": region},
            expected_resource_version=request.app[READS].entry(email, cluster_id).version,
        )
        try:
            return await request.app[WRITES].submit(command)
        except Rejected as refusal:
            if refusal.code != "GENERATION_CONFLICT" or not left:
                raise
            await asyncio.sleep(RETRY_AFTER)
    raise AssertionError("the last try returns or raises")


async def _judged(request: web.Request, email: str, cluster_id: str, health: Health | None) -> WriteResult:
    """Say how a cluster is, whatever its phase says; None takes that back."""
    command = SetHealth(
        **said_by(request, email, cluster_id, new_id()),
        health=health,
    )
    return await request.app[WRITES].submit(command)


async def delete_flat_cluster(request: web.Request) -> web.Response:
    """Delete a cluster and its droplets, whatever its state; takes effect at once."""
    email = caller(request)
    cluster_id = _path_id(request)
    with behind(absence(request, email)):
        command_id, keyed = command_identity(request, email, "delete", cluster_id)
    command = Delete(
        **said_by(request, email, cluster_id, command_id, keyed=keyed),
        force=True,
    )
    result = await request.app[WRITES].submit(command)
    return json_response(_SHAPE.gone(), headers=replayed(result))


def _answer(
    request: web.Request, cluster_id: str, result: WriteResult, done: str, *, status: int = 200
) -> web.Response:
    """The cluster as a write has left it, though it may be gone by now."""
    assert isinstance(result.document, msgspec.Raw)
    document = encode(request.app[FLAT].of(cluster_id, bytes(result.document)))
    return json_response(b"".join(_SHAPE.one(document, done)), status=status, headers=replayed(result))


def _path_id(request: web.Request) -> str:
    """The id in the path. Raises: Rejected: no cluster can have it, which is all that operators are told."""
    try:
        return path_id(request, "cluster")
    except Rejected:
        raise not_found() from None


def _flat(request: web.Request, cluster_id: str) -> bytes:
    """The flat document of a cluster. Raises: Rejected: it has just been deleted."""
    cluster = request.app[FLAT].cluster(cluster_id)
    if cluster is None:
        raise not_found()
    return encode(cluster)


def _platform(request: web.Request) -> str:
    """The platform of clusters that operators create, who name none."""
    platforms = sorted(request.app[SETTINGS].policy.platforms - {"*"})
    return "gcp" if "gcp" in platforms or not platforms else platforms[0]


def _operation(**members: Any) -> Operation:
    return Operation(tag="Clusters for operators", **members)


_EXAMPLE: Final[Mapping[str, Any]] = {"name": "demo", "region": "nyc3"}
_ONE: Final = _SHAPE.one_type(FlatCluster)
_PAGE: Final = _SHAPE.page(FlatCluster, f"The first {MOST}, or fewer where they are long")

ROUTES: Final = (
    Route(
        "GET",
        PATH,
        list_flat_clusters,
        _operation(
            parameters=(kind_parameters.CURSOR,),
            answers=(Answer(status=200, about=_PAGE.about, body=_PAGE.body, headers=_PAGE.headers),),
            refusals=("INVALID_PARAMETER",),
        ),
    ),
    Route(
        "POST",
        PATH,
        create_flat_cluster,
        _operation(
            parameters=(IDEMPOTENCY_KEY,),
            body=FlatCreate,
            example=_EXAMPLE,
            answers=(Answer(status=201, about="Created", body=_ONE, headers=("Idempotent-Replayed",)),),
            refusals=("INVALID_SPEC", "CLUSTER_NAME_EXISTS", "RESOURCE_CONFLICT"),
        ),
    ),
    Route(
        "GET",
        f"{PATH}/{{id:[^/]+}}",
        get_flat_cluster,
        _operation(
            parameters=(parameters.ID,),
            answers=(Answer(status=200, about="The cluster", body=_ONE, headers=("ETag",)),),
        ),
    ),
    Route(
        "PUT",
        f"{PATH}/{{id:[^/]+}}",
        update_flat_cluster,
        _operation(
            parameters=(parameters.ID,),
            body=FlatUpdate,
            example={"region": "lon1"},
            answers=(Answer(status=200, about="Updated", body=_ONE),),
            refusals=("INVALID_SPEC", "GENERATION_CONFLICT"),
        ),
    ),
    Route(
        "DELETE",
        f"{PATH}/{{id:[^/]+}}",
        delete_flat_cluster,
        _operation(
            parameters=(parameters.ID, IDEMPOTENCY_KEY),
            answers=(Answer(status=200, about="Deleted", body=Message, headers=("Idempotent-Replayed",)),),
        ),
    ),
)
