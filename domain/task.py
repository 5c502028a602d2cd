"""The rules of tasks: work on a resource, done by handlers (resources contract, sections 1.3 and 4)."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Final, Literal

from domain import work
from domain.entity import Command, Kind, VersionedEntity, absent, present
from domain.errors import invalid
from domain.policy import Policy
from domain.values import Meta, Struct, field, replace

MAX_WORDS: Final = 100
MAX_ENTRIES: Final = 64
MAX_METADATA_BYTES: Final = 8192

Status = Literal["pending", "processing", "completed", "failed"]
Words = Annotated[str, Meta(description="1 to 100 characters", extra_json_schema={"maxLength": MAX_WORDS})]
Metadata = Annotated[
    Mapping[str, str],
    Meta(description="For the handler: at most 64 entries, 8 KiB", max_length=MAX_ENTRIES),
]

_STATUS: Final[Mapping[work.Phase, Status]] = {
    "queued": "pending",
    "waiting": "pending",
    "claimed": "processing",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "failed",
}


class Task(Struct, frozen=True, kw_only=True):
    """A task as its readers see it.

    Attributes:
        result: Of a completed one.
        error: Why its last attempt came to nothing, until one is completed.
        attempt: The current or last one, from 1.
    """

    id: str
    resource_id: str
    action: str
    status: Status
    result: str = ""
    error: str = ""
    attempt: int = 1
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime
    updated_at: datetime


class TaskState(VersionedEntity, frozen=True, kw_only=True):
    """The state of one task.

    Attributes:
        source: The id of the event or command that asked for it, from which the ids of its events derive.
    """

    task: Task
    work: work.Work
    source: str


class Create(Command, frozen=True, kw_only=True, tag="task.create"):
    """Ask for work on a resource."""

    resource_id: Words
    action: Words
    metadata: Metadata | None = None


class Start(Create, frozen=True, kw_only=True, tag="task.start"):
    """The same, where an event leads to it.

    Attributes:
        source: The id of the event.
    """

    source: Annotated[str, Meta(min_length=1, max_length=100)]


class Claim(work.Claim, frozen=True, kw_only=True, tag="task.claim"):
    """Take a task that is pending."""


class Renew(work.Renew, frozen=True, kw_only=True, tag="task.renew"):
    """Say that a task is being worked on."""


class Complete(work.Complete, frozen=True, kw_only=True, tag="task.complete"):
    """End a task that is done."""


class Fail(work.Fail, frozen=True, kw_only=True, tag="task.fail"):
    """Give an attempt at a task up."""


class Conclude(work.Conclude, frozen=True, kw_only=True, tag="task.conclude"):
    """End a task whose handler has committed its end with what it has done."""


class Cancel(work.Cancel, frozen=True, kw_only=True, tag="task.cancel"):
    """End a task before it is done."""


Commands = Create | Start | Claim | Renew | Complete | Fail | Conclude | Cancel


class Changed(Struct, frozen=True):
    """A task has moved on.

    Attributes:
        how: As its work has (`domain.work.Moved`); `forgotten` at the end of its retention.
        task: As it is now.
        source: As in its state.
    """

    how: work.How | Literal["forgotten"]
    task: Task
    work: work.Work
    at: datetime
    source: str


def check(create: Create) -> None:
    """Raises: Rejected: `VALIDATION_FAILED`, a member is out of bounds."""
    for name in ("resource_id", "action"):
        if not 1 <= len(getattr(create, name)) <= MAX_WORDS:
            raise invalid(f"{name} must have 1 to {MAX_WORDS} characters", field=name)
    metadata = create.metadata or {}
    size = sum(len(word.encode()) for entry in metadata.items() for word in entry)
    if len(metadata) > MAX_ENTRIES or size > MAX_METADATA_BYTES:
        text = f"metadata must have at most {MAX_ENTRIES} entries and {MAX_METADATA_BYTES} bytes"
        raise invalid(text, field="metadata")


def decide(
    state: TaskState | None, command: Commands, at: datetime, *, limits: work.Limits
) -> Sequence[Changed]:
    """The events that a command leads to. Raises: Rejected."""
    if isinstance(command, Create):
        check(command)
        absent(state)
        new = Task(
            id=command.id,
            resource_id=command.resource_id,
            action=command.action,
            status="pending",
            metadata=command.metadata or {},
            created_at=at,
            updated_at=at,
        )
        begun = work.begun(at)
        source = command.source if isinstance(command, Start) else command.command_id
        return (Changed(begun.how, new, begun.work, at, source),)
    task = present(state, command)
    moved = work.decide(task.work, command, at, key=task.task.id, limits=limits)
    return (_changed(task, moved),)


def wake_at(state: TaskState, *, retention: timedelta) -> datetime | None:
    """When a task moves by itself: its work does, or it has ended long enough ago to be forgotten."""
    return work.due_at(state.work, retention=retention)


def wake(state: TaskState, at: datetime, *, limits: work.Limits) -> Sequence[Changed]:
    """What has become of a task by itself."""
    if state.work.ended:
        return (Changed("forgotten", state.task, state.work, at, state.source),)
    return (_changed(state, work.wake(state.work, at, key=state.task.id, limits=limits)),)


def missed(state: TaskState) -> Sequence[Changed]:
    """A queued task is not in the queue of a new Kafka."""
    if state.work.phase != "queued":
        return ()
    return (Changed("queued", state.task, state.work, state.work.queued_at, state.source),)


def _changed(state: TaskState, moved: work.Moved) -> Changed:
    """The task after its work has moved. What readers see changes only where its status or attempt does."""
    task = state.task
    if moved.how not in ("renewed", "cancelling"):
        task = replace(
            task,
            status=_STATUS[moved.work.phase],
            result=moved.result,
            error=task.error if moved.how in ("queued", "claimed") else moved.error,
            attempt=moved.work.attempt,
            updated_at=max(moved.at, task.updated_at + timedelta(microseconds=1)),  # it grows
        )
    return Changed(moved.how, task, moved.work, moved.at, state.source)


def evolve(state: TaskState | None, event: Changed) -> TaskState:
    """The state after an event."""
    state = state or TaskState(revision=0, task=event.task, work=event.work, source=event.source)
    deleted_at = event.at if event.how == "forgotten" else None
    return replace(state, task=event.task, work=event.work, deleted_at=deleted_at)


def task_kind(policy: Policy) -> Kind[TaskState, Commands, Changed]:
    """The rules of tasks under a policy."""
    limits = policy.task_limits
    return Kind(
        name="task",
        state=TaskState,
        decide=partial(decide, limits=limits),
        evolve=evolve,
        wake_at=partial(wake_at, retention=policy.task_retention),
        wake=partial(wake, limits=limits),
        missed=missed,
    )
