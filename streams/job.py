"""Jobs on Kafka: their queue, and what is told of them (operations contract, sections 4 and 9)."""

from collections.abc import Iterator
from datetime import timedelta
from operator import attrgetter
from typing import Any, Final

from msgspec import UNSET, UnsetType

from domain.ids import deterministic_id
from domain.job import (
    Changed,
    Claim,
    Commands,
    Complete,
    Fail,
    Job,
    JobState,
    Progress,
    Renew,
    job_kind,
    parameters_of,
)
from domain.policy import Policy
from domain.values import Struct
from streams import envelope
from streams.cause import Cause, announcement
from streams.envelope import Envelope
from streams.flow import Flow
from streams.topic import Key, Message
from streams.trace import TRACEPARENT
from streams.work import Queue
from streams.writing.outputs import Output

TYPES: Final = {
    "claimed": "job.started",
    "progressed": "job.progress",
    "completed": "job.completed",
    "failed": "job.failed",
    "cancelled": "job.cancelled",
}


class Requested(Struct):
    """The value of `job.queue`: an attempt at a job that an executor may claim."""

    job_id: str
    job_type: str
    attempt: int


class JobEvent(Envelope, kw_only=True):
    """A job was asked for, or has moved on.

    Attributes:
        message: What is being done, or was; `failed: ` and why for one that came to nothing.
        error: Why a job came to nothing.
    """

    job_id: str
    job_type: str
    progress: int
    message: str
    error: str | UnsetType = UNSET


EVENT: Final = Message(
    name="job-event", title="Event of a job", types=(JobEvent,), keyed_by=Key("The id of the job")
)


def announce(event: Changed, after: JobState, cause: Cause) -> Iterator[Output]:
    """Publish an attempt that is queued, and what readers see of the rest."""
    job, cause = event.job, _traced(cause, event.job)
    if event.how == "queued":
        attempt = event.work.attempt
        value = Requested(job_id=job.id, job_type=job.type, attempt=attempt)
        queued = deterministic_id("job", job.id, "job.queue", attempt)
        yield announcement("job.queue", job.id, value, after, cause._replace(event_id=queued))
    first = event.how == "queued" and event.work.attempt == 1
    type_ = "job.requested" if first else TYPES.get(event.how)
    if type_ is not None:
        yield envelope.told(_event(job, type_, cause), job.id, after, cause)


def _traced(cause: Cause, job: Job) -> Cause:
    """The same cause in the trace of the job, where it has none: a wake, or a command without."""
    if TRACEPARENT in cause.headers:
        return cause
    digits = job.trace_id.replace("-", "")
    return cause._replace(headers={**cause.headers, TRACEPARENT: f"00-{digits}-{digits[:16]}-01"})


def _event(job: Job, type_: str, cause: Cause) -> JobEvent:
    members: dict[str, Any] = envelope.common("job", job.id, type_, cause)
    members["trace_id"] = job.trace_id
    if job.cluster_id:
        members["cluster_id"] = job.cluster_id
    message = job.result
    if job.completed_at is not None and job.error:
        members["error"] = job.error
        message = f"{job.status}: {job.error}"
    payload = parameters_of(job) if type_ == "job.requested" else {"job": job}
    return JobEvent(
        **members, job_id=job.id, job_type=job.type, progress=job.progress, message=message, payload=payload
    )


def job_flow(policy: Policy) -> Flow[JobState, Commands, Changed]:
    """Jobs under a policy."""
    return Flow(
        kind=job_kind(policy),
        messages=Commands,
        commands="job.commands",
        state="job-state",
        joins={envelope.EVENTS: EVENT},
        queue="job.queue",
        queued=Requested,
        announce=announce,
        shown="job",
        retention=timedelta(days=30),
    )


def job_queue(flow: Flow[Any, Any, Any]) -> Queue:
    """What executors need to know of jobs, on the topics of a deployment."""
    return Queue(
        flow=flow,
        message=Requested,
        id_of=attrgetter("job_id"),
        key_of=attrgetter("job_id"),
        document=Job,
        action_of=attrgetter("type"),
        claim=Claim,
        renew=Renew,
        progress=Progress,
        complete=Complete,
        fail=Fail,
    )
