"""The REST API of jobs (operations contract, sections 2 and 4).

Clients of operators know other names for the states of jobs. So their mount has routes of its own, whose
documents have these.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from heapq import nlargest, nsmallest
from operator import attrgetter
from typing import Any, Final, Literal, get_args
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Struct

from domain.job import TYPES, Cancel, Create, Job, Parameters, Status, check
from domain.policy import Policy
from streams.job import job_flow
from streams.job_metrics import PROCESSED
from streams.json import encode
from streams.trace import trace_id
from tables.entries import ColumnFilter, KindEntry
from tables.view import BEFORE_ALL, View
from web.collection import STORED, Collection
from web.command_bodies import bodies
from web.described import kind_parameters
from web.described.operations import TEXT, Answer, Operation, Parameter, Route
from web.entities import Filtered, Identity, traced
from web.http.errors import json_response
from web.job_pool import JobPool, QueueFull
from web.keys import HEALTH, SERVED, SETTINGS
from web.limiter.limiter import limited
from web.numbered import NumberedPage, page_of, page_parameters
from web.paging import fitting
from web.shapes import Wrapped

JOB_POOL: Final = web.AppKey("job pool", JobPool)

PAGE: Final = 5
LONGEST_PAGE: Final = 100

QUEUED_SHOWN: Final = 20
"""Ids of jobs that wait, in a snapshot of the pool."""

FlatStatus = Literal["pending", "running", "completed", "failed"]

_FLAT: Final[Mapping[Status, FlatStatus]] = {
    "queued": "pending",
    "processing": "running",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "failed",
}
_SPELLED: Final = {"pending": "queued", "running": "processing"}
_QUEUED: Final = ColumnFilter(("queued", None, None))


class FlatJob(Job, frozen=True, kw_only=True, omit_defaults=True):
    """A job as clients of operators know it."""

    status: FlatStatus  # type: ignore[assignment]  # it is called otherwise there


class NewJob(Struct, kw_only=True):
    """What is to be done.

    Attributes:
        cluster_id: That of the parameters goes before it.
    """

    type: str = ""
    parameters: Parameters | None = None
    cluster_id: str | None = None


class Snapshot(Struct, kw_only=True):
    """The executors of jobs, and what they have to do.

    Attributes:
        worker_count: Jobs that may be done at one time.
        active_workers: Jobs that are being done.
        queue_length, queue_capacity: Jobs that wait, and how many may.
        queued_ids: The first 20 that wait, oldest first.
        instances: The executors, as they were at most five seconds ago.
    """

    worker_count: int
    active_workers: int
    queue_length: int
    queue_capacity: int
    queued_ids: Sequence[str]
    instances: Sequence[str]


_read_job: Final = msgspec.json.Decoder(Job).decode
_read_new: Final = bodies(NewJob)


def flat(app: web.Application, document: bytes) -> bytes:
    """The document of a job as clients of operators know it."""
    members = msgspec.structs.asdict(_read_job(document))
    return encode(FlatJob(**{**members, "status": _FLAT[members["status"]]}))


def _collection(path: str, document: type, **members: Any) -> Collection:
    return Collection(
        job_flow(Policy()),
        path,
        tag="Jobs",
        filters=(
            Filtered(name="status", values=lambda policy: get_args(Status), spelled=_SPELLED),
            Filtered(name="type", values=lambda policy: TYPES),
            Filtered(name="cluster_id", values=None),
        ),
        fresh=True,
        shape=Wrapped("job", title=document.__name__),
        document=document,
        **members,
    )


JOBS: Final = _collection("/api/v1/jobs", Job)
FLAT_JOBS: Final = _collection("/genie/api/v1/jobs", FlatJob, completed=flat, watchable=False)

# --- writes -------------------------------------------------------------------------------------------


def new_job_id(who: Identity, type_: str, at: datetime) -> str:
    """The id of a new job, by which jobs of a type sort by time.

    One that was asked for under a key has an id that follows from the key alone, so that a repeat has it too.
    """
    known = type_ if type_ in TYPES else "unknown"
    if who.keyed:
        return f"job-{known}-{who.entity_id}"
    return f"job-{known}-{at:%Y%m%d%H%M%S}-{who.entity_id[:8]}"


async def _create(jobs: Collection, request: web.Request) -> web.Response:
    body, who = await _read_new(request), jobs.new(request)
    create = Create(
        id=new_job_id(who, body.type, datetime.now(UTC)),
        command_id=who.command_id,
        job_type=body.type,
        parameters=body.parameters,
        cluster_id=body.cluster_id,
        trace_id=str(UUID(hex=trace_id(traced(request)))),
    )
    check(create)
    view = jobs.served(request).view
    repeated = who.keyed and view.get(create.id) is not None
    try:
        with nullcontext() if repeated else request.app[JOB_POOL].admitted(view.counts().get("queued", 0)):
            return await jobs.created(request, create, keyed=who.keyed)
    except QueueFull:
        PROCESSED.labels(create.job_type, "rejected").inc()
        raise


async def _cancel(jobs: Collection, request: web.Request) -> web.Response:
    who = jobs.known(request)
    return await jobs.written(request, Cancel(id=who.entity_id, command_id=who.command_id))


# --- reads --------------------------------------------------------------------------------------------


async def _list(jobs: Collection, request: web.Request) -> web.StreamResponse:
    wanted = jobs.wanted(request)
    if jobs.watches(request):
        return await jobs.watched(request, wanted)
    request.app[HEALTH].require_view()
    page = page_of(request, size=PAGE, most=LONGEST_PAGE)
    direction = request.query.get("sort_dir", "")
    found, total = listed(
        jobs.served(request).view,
        wanted,
        page,
        by_id=request.query.get("sort_by") == "id",
        ascending=direction not in ("", "desc"),
    )
    documents = (jobs.completed(request.app, document) for document in found)
    shown = fitting(documents, request.app[SETTINGS].max_unread_each)
    members = b',"page":%d,"page_size":%d,"total":%d}' % (page.number, page.size, total)
    return json_response(b"".join(jobs.shape.many(shown))[:-1] + members)


def listed(
    view: View[KindEntry], wanted: ColumnFilter, page: NumberedPage, *, by_id: bool, ascending: bool
) -> tuple[Sequence[bytes], int]:
    """The documents of a page, and how many there are on all pages.

    Args:
        by_id: Whether they are in the order of their ids, and not of their creation.
    """
    _, total = view.page(wanted, limit=0, offset=0)
    left = max(0, min(page.size, total - page.offset))
    if not by_id:
        offset = total - page.offset - left if ascending else page.offset
        found, _ = view.page(wanted, limit=left, offset=max(0, offset))
        return (found[::-1] if ascending else found), total
    if not left:
        return [], total
    first = nsmallest if ascending else nlargest
    entries = first(page.offset + left, view.after(wanted, BEFORE_ALL, limit=total), key=attrgetter("id"))
    return [entry.document for entry in entries[page.offset :]], total


async def show_workerpool(request: web.Request) -> web.Response:
    """Show what executors of jobs there are, and what they have to do."""
    request.app[HEALTH].require_view()
    view, pool = request.app[SERVED][JOBS.kind].view, request.app[JOB_POOL]
    first = NumberedPage(1, QUEUED_SHOWN)
    oldest, length = listed(view, _QUEUED, first, by_id=False, ascending=True)
    snapshot = Snapshot(
        worker_count=pool.workers,
        active_workers=view.counts().get("processing", 0),
        queue_length=length,
        queue_capacity=pool.capacity,
        queued_ids=[_read_job(document).id for document in oldest],
        instances=pool.instances,
    )
    return json_response(encode(snapshot))


# --- routes -------------------------------------------------------------------------------------------

_EXAMPLE: Final = {
    "type": "provision",
    "parameters": {"cluster_id": "4fe1157b-ebd4-4ece-9f79-dd52c6504f4e", "region": "nyc3"},
}
_SORTING: Final = (
    Parameter(name="sort_by", where="query", about="`id`; anything else is `created_at`", schema=TEXT),
    Parameter(
        name="sort_dir",
        where="query",
        about="`desc`, which is the default; anything else is `asc`",
        schema=TEXT,
    ),
)


def _page_type(document: type) -> type:
    members = [("jobs", list[document]), ("page", int), ("page_size", int), ("total", int)]  # type: ignore[valid-type]
    about = {"__doc__": "A page of jobs, and how many there are on all pages."}
    return msgspec.defstruct(f"{document.__name__}Page", members, kw_only=True, namespace=about)


def _list_route(jobs: Collection, prefix: str) -> Route:
    paging = (*page_parameters(size=PAGE, most=LONGEST_PAGE), *_SORTING)
    body = _page_type(jobs.document)
    operation = jobs.operation(
        parameters=(*paging, *jobs.filter_parameters, *jobs.watching),
        answers=(
            Answer(status=200, about="A page of jobs, or the change feed", body=body, stream=jobs.watchable),
        ),
        refusals=("INVALID_PARAMETER", "WATCH_EXPIRED", "TOO_MANY_WATCHES"),
    )
    about = "A page of jobs, newest first, or shorter where they are long; or all and how they change."
    return jobs.route("GET", "", partial(_list, jobs), operation, name=f"{prefix}list_jobs", about=about)


def _create_route(jobs: Collection, prefix: str) -> Route:
    headers = ("ETag", "Location", "Idempotent-Replayed")
    operation = jobs.operation(
        parameters=(kind_parameters.KEY,),
        body=NewJob,
        example=_EXAMPLE,
        answers=(
            Answer(status=201, about="Queued", body=jobs.shown, headers=headers),
            Answer(status=202, about=STORED, body=jobs.shown, headers=("Location",)),
        ),
        refusals=("IDEMPOTENCY_CONFLICT",),
    )
    about = "Have something done; answered once it is queued. 503 where as many wait as may."
    name = f"{prefix}create_job"
    return limited(
        "jobs_create", jobs.route("POST", "", partial(_create, jobs), operation, name=name, about=about)
    )


def _cancel_route(jobs: Collection, prefix: str) -> Route:
    operation = jobs.operation(
        parameters=(jobs.id_parameter, kind_parameters.KEY),
        answers=(
            Answer(status=200, about="It ends, or has ended", body=jobs.shown, headers=("ETag",)),
            Answer(status=202, about=STORED, body=jobs.shown),
        ),
        refusals=("WORK_ENDED",),
    )
    about = "End a job: at once while it waits, between two steps while it is being done."
    path, name = "/{id:[^/]+}/cancel", f"{prefix}cancel_job"
    return jobs.route("POST", path, partial(_cancel, jobs), operation, name=name, about=about)


def _pool_route(jobs: Collection, prefix: str) -> Route:
    operation = Operation(
        tag="Jobs", answers=(Answer(status=200, about="The pool", body=Snapshot),), public=True
    )
    path = jobs.path.removesuffix("jobs") + "observability/workerpool"
    return Route("GET", path, show_workerpool, operation, name=f"{prefix}show_workerpool")


def _routes(jobs: Collection, prefix: str) -> tuple[Route, ...]:
    return (
        _list_route(jobs, prefix),
        _create_route(jobs, prefix),
        jobs.get()._replace(name=f"{prefix}get_job"),
        _cancel_route(jobs, prefix),
        _pool_route(jobs, prefix),
    )


ROUTES: Final = (
    *_routes(JOBS, ""),
    *_routes(FLAT_JOBS, "operators_"),
    _pool_route(JOBS, "plain_")._replace(path="/observability/workerpool"),
)
