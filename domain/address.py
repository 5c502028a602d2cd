"""The addresses of droplets: each is handed out to one holder, and taken back.

A block of the network (`domain/networks.py`) is an entity that knows who holds which of its addresses. A
holder asks one block. A full one names the next to ask, so nothing has to know them all at once.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Literal

from domain.entity import Command, EntityId, Kind, VersionedEntity
from domain.errors import Rejected
from domain.networks import MOST_ASKED, Address, Blocks, blocks_of
from domain.policy import Policy
from domain.values import Meta, Struct, field, replace


class Block(Struct, frozen=True, kw_only=True):
    """A part of the network.

    Attributes:
        id: Its first address.
        held: The holder of each address that is in use.
    """

    id: str
    held: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime
    updated_at: datetime


class BlockState(VersionedEntity, frozen=True, kw_only=True):
    """The state of one block."""

    block: Block


class Take(Command, frozen=True, kw_only=True, tag="address.take"):
    """Ask for an address of a block.

    Attributes:
        holder: Who is to have it; one that has an address of the block gets the same again.
        others: How many more blocks may be asked after this one.
    """

    holder: EntityId
    others: Annotated[int, Meta(ge=0, lt=MOST_ASKED)]


class Release(Command, frozen=True, kw_only=True, tag="address.release"):
    """Give an address back."""

    holder: EntityId
    address: Address


Commands = Take | Release


class Changed(Struct, frozen=True, kw_only=True):
    """A block was asked for an address, or was given one back.

    Attributes:
        how: `full` where no address of the block is free.
        address: The one that was taken or released.
        ask: The block to ask next where this one is full; None if all have been asked.
        others: How many more may be asked after that.
    """

    how: Literal["taken", "released", "full"]
    block: Block
    holder: str
    address: str = ""
    ask: str | None = None
    others: int = 0


def decide(state: BlockState | None, command: Commands, at: datetime, *, blocks: Blocks) -> Sequence[Changed]:
    """The events that a command leads to. Raises: Rejected."""
    block = Block(id=command.id, created_at=at, updated_at=at) if state is None else state.block
    match command:
        case Take():
            return (_taken(block, command, at, blocks),)
        case Release(holder=holder, address=address):
            if block.held.get(address) != holder:
                raise Rejected("RESOURCE_NOT_FOUND", "This address is not held by this holder")
            held = {name: other for name, other in block.held.items() if name != address}
            left = replace(block, held=held, updated_at=at)
            return (Changed(how="released", block=left, holder=holder, address=address),)


def _taken(block: Block, take: Take, at: datetime, blocks: Blocks) -> Changed:
    holder = take.holder
    address = next((address for address, other in block.held.items() if other == holder), None)
    if address is None:
        address = next((each for each in blocks.addresses(block.id) if each not in block.held), None)
    if address is not None:
        taken = replace(block, held={**block.held, address: holder}, updated_at=at)
        return Changed(how="taken", block=taken, holder=holder, address=address)
    if not take.others:
        return Changed(how="full", block=block, holder=holder)
    ask = blocks.after(block.id)
    return Changed(how="full", block=block, holder=holder, ask=ask, others=take.others - 1)


def evolve(state: BlockState | None, event: Changed) -> BlockState:
    """The state after an event."""
    state = state or BlockState(revision=0, block=event.block)
    return replace(state, block=event.block)


def address_kind(policy: Policy) -> Kind[BlockState, Commands, Changed]:
    """The rules of addresses under a policy."""
    blocks = blocks_of(policy.droplet_network)
    return Kind(name="address", state=BlockState, decide=partial(decide, blocks=blocks), evolve=evolve)
