"""Tasks on Kafka: the queue that executors read, and how tasks end (resources contract, section 6)."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from operator import attrgetter
from typing import Any

from msgspec import UNSET, UnsetType

from domain.ids import deterministic_id
from domain.policy import Policy
from domain.task import Changed, Claim, Commands, Complete, Fail, Renew, Task, TaskState, task_kind
from domain.values import Struct
from streams.cause import Cause, announcement
from streams.flow import Flow, Reference
from streams.kafka.roles import GRPC, WEB
from streams.topic import Key
from streams.work import Queue
from streams.writing.outputs import Output


class Requested(Struct):
    """The value of `task.process`: an attempt at a task that an executor may claim."""

    task_id: str
    resource_id: str
    action: str
    status: str = "pending"
    metadata: Mapping[str, str] | UnsetType = UNSET


class Completed(Struct):
    """The value of `task.completed`."""

    task_id: str
    resource_id: str
    action: str
    result: str
    status: str = "completed"


class Failed(Struct):
    """The value of `task.failed`; no attempt follows."""

    task_id: str
    resource_id: str
    action: str
    error: str
    status: str = "failed"


def announce(event: Changed, after: TaskState, cause: Cause) -> Iterator[Output]:
    """Publish an attempt that is queued, and the end of a task.

    The id of such a record derives from what has asked for the task, so it is the same whatever happens in
    between (TP-2).
    """
    task = event.task
    value: Requested | Completed | Failed
    about = {"task_id": task.id, "resource_id": task.resource_id, "action": task.action}
    match event.how:
        case "queued":
            topic, value = "task.process", Requested(**about, metadata=task.metadata or UNSET)
        case "completed":
            topic, value = "task.completed", Completed(**about, result=task.result)
        case "failed" | "cancelled":
            topic, value = "task.failed", Failed(**about, error=task.error)
        case _:
            return
    event_id = deterministic_id(event.source, task.id, topic, task.attempt)
    yield announcement(topic, task.resource_id, value, after, cause, event_id=event_id)


def task_flow(policy: Policy) -> Flow[TaskState, Commands, Changed]:
    """Tasks under a policy."""
    return Flow(
        kind=task_kind(policy),
        messages=Commands,
        commands="task.commands",
        state="task-state",
        public={"task.process": Requested, "task.completed": Completed, "task.failed": Failed},
        public_key=Key("The id of the resource"),
        apis=(WEB, GRPC),
        refers=Reference("resource_id", "resource"),
        queue="task.process",
        announce=announce,
        shown="task",
        retention=timedelta(days=30),
    )


def task_queue(flow: Flow[Any, Any, Any]) -> Queue:
    """What executors need to know of tasks, on the topics of a deployment."""
    return Queue(
        flow=flow,
        message=Requested,
        id_of=attrgetter("task_id"),
        key_of=attrgetter("resource_id"),
        document=Task,
        action_of=attrgetter("action"),
        claim=Claim,
        renew=Renew,
        complete=Complete,
        fail=Fail,
    )
