"""The commands that events of one kind send to another.

They are published in the turn of the event, so they are as durable as the event. The id of a command derives
from its cause, so a replay sends the same command again, and the other kind answers it from memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID

from agents.entity import Reaction
from domain import task
from domain.ids import deterministic_id
from domain.resource import Changed, ResourceState
from streams.flow import Cause, Flow
from streams.headers import ANSWERED_BY, BY_STATE
from streams.writing.outputs import Output

ACTIONS: Final[Mapping[str, str]] = {
    "created": "process_new_resource",
    "updated": "reprocess_resource",
    "deleted": "cleanup_resource",
}


def reactions_of(flows: Mapping[str, Flow[Any, Any, Any]]) -> Mapping[str, Sequence[Reaction]]:
    """By kind, what its events lead to; `flows` are those of a deployment, by kind."""
    return {"resource": (partial(start_task, flows["task"]),)}


def start_task(
    tasks: Flow[Any, Any, Any], event: Changed, after: ResourceState, cause: Cause
) -> Iterator[Output]:
    """Start a task for a resource that has changed (resources contract, section 4)."""
    resource_id = event.resource.id
    source = cause.id if _is_uuid(cause.id) else deterministic_id("resource", resource_id, cause.id)
    of = resource_id if event.how == "created" and after.version == 1 else source
    id = f"auto-{of}"
    if len(id) > task.MAX_WORDS:
        id = f"auto-{deterministic_id(of)}"
    action = ACTIONS[event.how]
    start = task.Start(
        id=id,
        command_id=deterministic_id(source, action),
        resource_id=resource_id,
        action=action,
        source=source,
    )
    # Nobody waits for a result.
    yield tasks.command(start, {"content_type": "application/json", ANSWERED_BY: BY_STATE, **cause.headers})


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
