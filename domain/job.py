"""The rules of jobs: what operators have done to their fleet (operations contract, sections 1.3 and 4)."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final, Literal, Self, get_args

from domain import work
from domain.entity import Command, Kind, VersionedEntity, absent, present
from domain.errors import invalid
from domain.ids import deterministic_id
from domain.json import check_json
from domain.policy import Policy
from domain.values import Meta, Struct, replace

MAX_TEXT: Final = 255
MAX_PARAMETERS: Final = 64
MAX_PARAMETER_BYTES: Final = 8192
MOST_AT_ONCE: Final = 10
"""Droplets that one job may make or delete."""

TRACE_ID: Final = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"

MAX_DIGITS: Final = 4

CLAIMED: Final = 5
"""The progress of a job that has been claimed, at least."""

Type = Literal["provision", "scale", "diagnose", "monitor"]
Status = Literal["queued", "processing", "completed", "failed", "cancelled"]
Action = Literal["scale_up", "scale_down"]
Scalar = str | int | float | bool | None
Parameters = Annotated[
    Mapping[str, Scalar],
    Meta(description="For the work: at most 64 entries, 8 KiB", max_length=MAX_PARAMETERS),
]
Text = Annotated[str, Meta(extra_json_schema={"maxLength": MAX_TEXT})]

TYPES: Final[Sequence[str]] = get_args(Type)
OF_A_CLUSTER: Final = frozenset({"provision", "scale"})
"""The types that need a cluster."""

_STATUS: Final[Mapping[work.Phase, Status]] = {
    "queued": "queued",
    "waiting": "queued",
    "claimed": "processing",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}


class Job(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job as its readers see it.

    Attributes:
        cluster_id: Empty for a job of no cluster.
        progress: 0 to 100; it never falls.
        attempts: How often an executor has begun with it.
        trace_id: A UUID, of the request that has asked for it.
        result: What is being done, and in the end a JSON text that says what was.
        error: Why its last attempt came to nothing, until one is completed.
        parameters: The object of the request, as a JSON text.
        completed_at: When it ended, however it did.
    """

    id: str
    cluster_id: str
    type: Type
    status: Status
    progress: int
    attempts: int
    trace_id: str = ""
    result: str = ""
    error: str = ""
    parameters: str = ""
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None = None


class JobState(VersionedEntity, frozen=True, kw_only=True):
    """The state of one job."""

    job: Job
    work: work.Work


class Create(Command, frozen=True, kw_only=True, tag="job.create"):
    """Have something done.

    Attributes:
        job_type: What.
        cluster_id: The cluster it is about; `cluster_id` among the parameters goes before it.
        trace_id: A UUID; without one it follows from the id of this command.
    """

    job_type: Text
    parameters: Parameters | None = None
    cluster_id: Text | None = None
    trace_id: Annotated[str, Meta(pattern=f"^({TRACE_ID})?$")] = ""

    def request(self) -> Self:
        """A repeat comes with a trace of its own."""
        return replace(self, trace_id="")


class Claim(work.Claim, frozen=True, kw_only=True, tag="job.claim"):
    """Take a job that is queued."""


class Renew(work.Renew, frozen=True, kw_only=True, tag="job.renew"):
    """Say that a job is being worked on."""


class Progress(work.Progress, frozen=True, kw_only=True, tag="job.progress"):
    """Say how far a job has come; one that has come to 100 is completed."""


class Complete(work.Complete, frozen=True, kw_only=True, tag="job.complete"):
    """End a job that is done."""


class Fail(work.Fail, frozen=True, kw_only=True, tag="job.fail"):
    """Give an attempt at a job up."""


class Cancel(work.Cancel, frozen=True, kw_only=True, tag="job.cancel"):
    """End a job before it is done."""


Commands = Create | Claim | Renew | Progress | Complete | Fail | Cancel


class Changed(Struct, frozen=True):
    """A job has moved on.

    Attributes:
        how: As its work has (`domain.work.Moved`), or `progressed`; `forgotten` at the end of its retention.
        job: As it is now.
    """

    how: work.How | Literal["progressed", "forgotten"]
    job: Job
    work: work.Work
    at: datetime


class Scaling(Struct, frozen=True, kw_only=True):
    """What a job of type `scale` asks for."""

    action: Action = "scale_up"
    count: int = 1


# --- what is asked for --------------------------------------------------------------------------------


def cluster_of(create: Create) -> str:
    """The id of the cluster that a job is about; empty for none. Raises: Rejected: it is no text."""
    given = (create.parameters or {}).get("cluster_id")
    if given not in (None, "") and not isinstance(given, str):
        raise invalid("parameters.cluster_id must be a text", field="parameters")
    found = given or create.cluster_id or ""
    assert isinstance(found, str)
    if len(found) > MAX_TEXT:
        raise invalid(f"cluster_id must have at most {MAX_TEXT} characters", field="cluster_id")
    return found


def scaling_of(parameters: Mapping[str, Scalar]) -> Scaling:
    """What to scale, from the parameters of a job. Raises: Rejected: `VALIDATION_FAILED`."""
    action, count = parameters.get("action") or "scale_up", parameters.get("count")
    if action not in get_args(Action):
        raise invalid(f"action must be one of {', '.join(get_args(Action))}", field="parameters")
    if isinstance(count, str) and count.isascii() and count.isdecimal() and len(count) <= MAX_DIGITS:
        count = int(count)  # forms send numbers as texts
    if count in (None, ""):
        count = 1
    if type(count) is not int or not 1 <= count <= MOST_AT_ONCE:
        raise invalid(f"count must be a number from 1 to {MOST_AT_ONCE}", field="parameters")
    return Scaling(action=action, count=count)  # type: ignore[arg-type]  # it is one of them


def text_of(parameters: Mapping[str, Scalar], name: str, otherwise: str) -> str:
    """A parameter as text; another one where it is missing, null or empty."""
    given = parameters.get(name)
    return otherwise if given in (None, "") else str(given)


def parameters_of(job: Job) -> Mapping[str, Any]:
    """The parameters of a job as the object they were."""
    return dict(json.loads(job.parameters)) if job.parameters else {}


def check(create: Create) -> None:
    """Raises: Rejected: `VALIDATION_FAILED`, a member is out of bounds or missing."""
    if create.job_type not in TYPES:
        raise invalid(f"type must be one of {', '.join(TYPES)}", field="type", value=create.job_type)
    parameters = create.parameters or {}
    check_json(parameters, field="parameters")
    if len(parameters) > MAX_PARAMETERS or len(_encoded(parameters).encode()) > MAX_PARAMETER_BYTES:
        text = f"parameters must have at most {MAX_PARAMETERS} entries and {MAX_PARAMETER_BYTES} bytes"
        raise invalid(text, field="parameters")
    if any(type(value) is int and not -(2**63) <= value < 2**63 for value in parameters.values()):
        raise invalid("parameters must not have numbers beyond 64 bits", field="parameters")
    if not (cluster := cluster_of(create)) and create.job_type in OF_A_CLUSTER:
        raise invalid(f"cluster_id is required for {create.job_type}", field="cluster_id")
    check_json(cluster, field="cluster_id")
    if create.job_type == "scale":
        scaling_of(parameters)


def _encoded(parameters: Mapping[str, Scalar]) -> str:
    return json.dumps(dict(parameters), ensure_ascii=False, separators=(",", ":"))


# --- what follows -------------------------------------------------------------------------------------


def decide(
    state: JobState | None, command: Commands, at: datetime, *, limits: work.Limits
) -> Sequence[Changed]:
    """The events that a command leads to. Raises: Rejected."""
    if isinstance(command, Create):
        check(command)
        absent(state)
        begun = work.begun(at)
        return (Changed("queued", _new(command, at), begun.work, at),)
    job = present(state, command)
    moved = work.decide(job.work, command, at, key=job.job.id, limits=limits)
    if not isinstance(command, Progress):
        return (_changed(job, moved),)
    if command.percent >= 100:
        done = Complete(
            id=command.id, command_id=command.command_id, claim=command.claim, result=command.message
        )
        return (_changed(job, work.decide(job.work, done, at, key=job.job.id, limits=limits)),)
    check_json(command.message, field="message")
    percent = max(job.job.progress, command.percent)
    shown = replace(job.job, progress=percent, result=command.message or job.job.result)
    return (Changed("progressed", _later(shown, at), moved.work, at),)


def _new(create: Create, at: datetime) -> Job:
    given = create.trace_id if create.trace_id.strip("0-") else ""  # no trace is all zeros
    return Job(
        id=create.id,
        cluster_id=cluster_of(create),
        type=create.job_type,  # type: ignore[arg-type]  # `check` has seen to that
        status="queued",
        progress=0,
        attempts=0,
        trace_id=given or deterministic_id(create.command_id, "trace"),
        parameters=_encoded(create.parameters) if create.parameters else "",
        created_at=at,
        updated_at=at,
    )


def _changed(state: JobState, moved: work.Moved) -> Changed:
    """The job after its work has moved. What readers see changes only where its status or attempt does."""
    job = state.job
    match moved.how:
        case "renewed" | "cancelling":
            return Changed(moved.how, job, moved.work, moved.at)
        case "claimed":
            job = replace(job, progress=max(job.progress, CLAIMED), attempts=moved.work.attempt)
        case "completed":
            job = replace(job, progress=100, result=moved.result, error="")
        case "queued":
            pass
        case _:
            job = replace(job, error=moved.error)
    job = replace(job, status=_STATUS[moved.work.phase], completed_at=moved.work.ended_at)
    return Changed(moved.how, _later(job, moved.at), moved.work, moved.at)


def _later(job: Job, at: datetime) -> Job:
    return replace(job, updated_at=max(at, job.updated_at + timedelta(microseconds=1)))  # it grows


def wake_at(state: JobState, *, retention: timedelta) -> datetime | None:
    """When a job moves by itself: its work does, or it has ended long enough ago to be forgotten."""
    return work.due_at(state.work, retention=retention)


def wake(state: JobState, at: datetime, *, limits: work.Limits) -> Sequence[Changed]:
    """What has become of a job by itself."""
    if state.work.ended:
        return (Changed("forgotten", state.job, state.work, at),)
    return (_changed(state, work.wake(state.work, at, key=state.job.id, limits=limits)),)


def missed(state: JobState) -> Sequence[Changed]:
    """A queued job is not in the queue of a new Kafka."""
    if state.work.phase != "queued":
        return ()
    return (Changed("queued", state.job, state.work, state.work.queued_at),)


def evolve(state: JobState | None, event: Changed) -> JobState:
    """The state after an event."""
    state = state or JobState(revision=0, job=event.job, work=event.work)
    deleted_at = event.at if event.how == "forgotten" else None
    return replace(state, job=event.job, work=event.work, deleted_at=deleted_at)


def job_kind(policy: Policy) -> Kind[JobState, Commands, Changed]:
    """The rules of jobs under a policy."""
    limits = policy.job_limits
    return Kind(
        name="job",
        state=JobState,
        decide=partial(decide, limits=limits),
        evolve=evolve,
        wake_at=partial(wake_at, retention=policy.job_retention),
        wake=partial(wake, limits=limits),
        missed=missed,
    )
