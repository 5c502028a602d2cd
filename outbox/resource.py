"""Rows that write resources (resources contract, OB-12)."""

from collections.abc import Mapping
from typing import Final

from domain.entity import EntityId
from domain.errors import invalid
from domain.policy import Policy
from domain.resource import Apply, Delete, Description, Name, Status, check
from domain.values import Struct
from outbox.rows import FromRow, OutboxRow, payload_of
from streams.decoding import decoder_of


class Written(Struct, kw_only=True):
    """The payload of a row that writes a resource: what its event shows, as far as its writer decides."""

    id: EntityId
    name: Name
    description: Description | None = None
    status: Status | None = None


class Deleted(Struct, kw_only=True):
    """The payload of a row that deletes a resource."""

    id: EntityId


_read_written: Final = decoder_of(Written)
_read_deleted: Final = decoder_of(Deleted)


def apply_of(row: OutboxRow, policy: Policy) -> Apply:
    """Write a resource, whether there is one or not. Raises: Rejected: the rules would refuse it."""
    written = payload_of(row, _read_written)
    apply = Apply(
        id=_in_its_order(row, written.id),
        command_id=row.id,
        name=written.name,
        description=written.description,
        status=written.status,
    )
    check(apply, policy)
    return apply


def delete_of(row: OutboxRow, policy: Policy) -> Delete:
    """Delete a resource, if there is one. Raises: Rejected."""
    return Delete(id=_in_its_order(row, payload_of(row, _read_deleted).id), command_id=row.id)


def _in_its_order(row: OutboxRow, id: str) -> str:
    """The id of a resource. Raises: Rejected: it is not that of the aggregate, by which rows are ordered."""
    if row.aggregate_id != id:
        raise invalid("aggregate_id must be the id in the payload", field="aggregate_id")
    return id


FROM_ROWS: Final[Mapping[str, FromRow]] = {
    "resource.created": apply_of,
    "resource.updated": apply_of,
    "resource.deleted": delete_of,
}
