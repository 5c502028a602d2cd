"""Entities that must exist before one of another kind names them, where an operator wants that."""

from typing import Protocol

from domain.entity import Command
from domain.errors import Rejected, short
from streams.flow import Reference


class Kept(Protocol):
    """Entities of one kind (`serving.kinds.Served`)."""

    async def exists(self, entity_id: str) -> bool: ...  # noqa: D102


async def require(reference: Reference, other: Kept, own: Kept, command: Command, *, keyed: bool) -> None:
    """See that the entity exists that a command names.

    A repeat under a key gets its first outcome, even if the other entity is gone by now.

    Args:
        other, own: What the process serves both kinds from.

    Raises: Rejected: the code of the reference. Unavailable: that is not known now.
    """
    id = getattr(command, reference.member, None)
    if not id or await other.exists(id):
        return
    if keyed and await own.exists(command.id):
        return
    text = reference.text or f"There is no {reference.kind} {short(id)}"
    raise Rejected(reference.code, text, field=reference.member)
