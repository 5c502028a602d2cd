"""The service of tasks: each method asks the view of tasks, or has a command decided."""

from datetime import datetime
from typing import Any, Final

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp
from grpc.aio import ServicerContext
from msgspec import UnsetType

from domain.errors import invalid
from domain.ids import entity_id_of
from domain.json import check_json
from domain.policy import Policy
from domain.task import MAX_WORDS, Create, Task, check
from rpc.calls import origin
from rpc.task.v1 import task_pb2 as v1
from rpc.task.v1.task_pb2_grpc import TaskServiceServicer
from serving.ids import keyed_id, new_id
from serving.kinds import Followed, Served
from serving.paging import cursor_after, place_after
from streams.task import task_flow
from tables.entries import ColumnFilter
from tables.view import BEFORE_ALL

SERVICE: Final = v1.DESCRIPTOR.services_by_name["TaskService"].full_name
KEY: Final = "idempotency-key"
MAX_KEY: Final = 128
PAGE: Final = 50
LARGEST_PAGE: Final = 100

Context = ServicerContext[Any, Any]

_ALL: Final = ColumnFilter(())
_read_task: Final = msgspec.json.Decoder(Task).decode


TASKS: Final = Followed(task_flow(Policy()))


class TaskService(TaskServiceServicer):
    """Version 1."""

    def __init__(self, served: Served) -> None:
        self._served = served

    async def ProcessTask(self, request: v1.ProcessTaskRequest, context: Context) -> v1.ProcessTaskResponse:  # noqa: N802
        """Queue a task; the same one again for a repeat under the same key."""
        command_id, keyed = _identity(context)
        create = Create(
            id=entity_id_of(command_id, TASKS.flow.kind.name),
            command_id=command_id,
            resource_id=request.resource_id,
            action=request.action,
            metadata=dict(request.metadata) or None,
        )
        check(create)
        for name in ("resource_id", "action", "metadata"):
            check_json(getattr(create, name), field=name)
        result = await self._served.writes.submit(create, origin=origin.get(), keyed=keyed)
        assert not isinstance(result.document, UnsetType)
        task = _read_task(result.document)
        return v1.ProcessTaskResponse(task_id=task.id, status=task.status, created_at=_time(task.created_at))

    async def GetTaskStatus(  # noqa: N802
        self, request: v1.GetTaskStatusRequest, context: Context
    ) -> v1.GetTaskStatusResponse:
        """How far a task has come."""
        if not 1 <= len(request.task_id) <= MAX_WORDS:
            raise invalid(f"task_id must have 1 to {MAX_WORDS} characters", field="task_id")
        task = _read_task((await self._served.present(request.task_id)).document)
        return v1.GetTaskStatusResponse(
            task_id=task.id,
            resource_id=task.resource_id,
            action=task.action,
            status=task.status,
            result=task.result,
            created_at=_time(task.created_at),
            updated_at=_time(task.updated_at),
        )

    async def ListTasks(self, request: v1.ListTasksRequest, context: Context) -> v1.ListTasksResponse:  # noqa: N802
        """A page of tasks, newest first."""
        self._served.health.require_view()
        if request.page_size < 0:
            raise invalid("page_size must not be negative", field="page_size")
        size = min(request.page_size or PAGE, LARGEST_PAGE)
        try:
            place = place_after(request.page_token) if request.page_token else BEFORE_ALL
        except ValueError:
            raise invalid("page_token is not one of ours", field="page_token") from None
        found = self._served.view.after(_ALL, place, limit=size + 1)
        return v1.ListTasksResponse(
            tasks=[_listed(_read_task(entry.document)) for entry in found[:size]],
            next_page_token=cursor_after(found[size - 1]) if len(found) > size else "",
        )


def _listed(task: Task) -> v1.Task:
    return v1.Task(
        task_id=task.id,
        resource_id=task.resource_id,
        action=task.action,
        status=task.status,
        created_at=_time(task.created_at),
        updated_at=_time(task.updated_at),
    )


def _time(at: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return stamp


def _identity(context: Context) -> tuple[str, bool]:
    """The id of a command, and whether a key has made it. Raises: Rejected: the key is out of bounds."""
    given = [text for name, text in context.invocation_metadata() or () if name == KEY]
    if not given:
        return new_id(), False
    (key, *more) = given
    if more or not isinstance(key, str) or not 1 <= len(key) <= MAX_KEY or not key.isprintable():
        raise invalid(f"{KEY} must be 1 to {MAX_KEY} printable characters, once", field=KEY)
    return keyed_id("", TASKS.flow.kind.name, "create", key=key), True
