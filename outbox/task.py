"""Rows that ask for tasks, and rows by which handlers end them (resources contract, OB-13)."""

from collections.abc import Mapping
from typing import Final

from domain.entity import EntityId
from domain.policy import Policy
from domain.task import Conclude, Create, Metadata, Words, check
from domain.values import Struct
from outbox.rows import FromRow, OutboxRow, payload_of
from streams.decoding import decoder_of


class Wanted(Struct, kw_only=True):
    """The payload of a row that asks for a task."""

    task_id: EntityId
    resource_id: Words
    action: Words
    metadata: Metadata | None = None


class Ended(Struct, kw_only=True):
    """The payload of a row that says how a task has ended."""

    task_id: EntityId
    result: str = ""
    error: str = ""


_read_wanted: Final = decoder_of(Wanted)
_read_ended: Final = decoder_of(Ended)


def create_of(row: OutboxRow, policy: Policy) -> Create:
    """Ask for a task. Raises: Rejected: the rules would refuse it."""
    wanted = payload_of(row, _read_wanted)
    create = Create(
        id=wanted.task_id,
        command_id=row.id,
        resource_id=wanted.resource_id,
        action=wanted.action,
        metadata=wanted.metadata,
    )
    check(create)
    return create


def completed_of(row: OutboxRow, policy: Policy) -> Conclude:
    """End a task that is done: its handler has committed that with rows of its own."""
    ended = payload_of(row, _read_ended)
    return Conclude(id=ended.task_id, command_id=row.id, result=ended.result)


def failed_of(row: OutboxRow, policy: Policy) -> Conclude:
    """End a task that has failed for good."""
    ended = payload_of(row, _read_ended)
    return Conclude(id=ended.task_id, command_id=row.id, error=ended.error)


FROM_ROWS: Final[Mapping[str, FromRow]] = {
    "task.process": create_of,
    "task.completed": completed_of,
    "task.failed": failed_of,
}
