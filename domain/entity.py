"""The shared parts of all kinds of entities: bookkeeping in their states, and the interface of their rules.

A kind's state extends `Entity`, its commands extend `Command`, and a `Kind` lists its rules. One agent, one
table and one view serve every kind without knowing any of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Generic, Self, TypeVar

from domain.errors import Rejected
from domain.offsets import Seen, holds
from domain.values import UNSET, Meta, Struct, UnsetType, field, replace

REMEMBERED_COMMANDS: Final = 64
"""How many outcomes an entity always remembers, so that a repeated command gets its first one."""

REMEMBERED_KEYS: Final = 192
"""How many more outcomes of commands under an `Idempotency-Key` it remembers for `KEPT_FOR`."""

KEPT_FOR: Final = timedelta(hours=24)


class Outcome(Struct, frozen=True, kw_only=True):
    """How one command ended; kept so that a repeat of it gets the same answer.

    Attributes:
        caller: Who sent it; empty for the entity's owner, and where entities have none.
        code: Why it was refused; None if it was applied.
        details: More about a refusal, or about what was done (`Kind.details`).
        until: How long it must be remembered, whatever comes after it; None: for the next 63 commands.
        digest: Of what was asked for under an `Idempotency-Key`; a repeat that asks for something else is no
            repeat. Only where a kind tells the two apart.
    """

    command_id: str
    caller: str = ""
    code: str | None = None
    error: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    until: datetime | None = None
    digest: str | UnsetType = UNSET

    @property
    def applied(self) -> bool:
        """Whether the command did what it asked for."""
        return self.code is None

    def refused(self, refusal: Rejected) -> "Outcome":
        """The outcome of a command that this refusal refused."""
        return replace(self, code=refusal.code, error=refusal.text, details=refusal.details)


class Entity(Struct, frozen=True, kw_only=True):
    """The bookkeeping in every state, beside what is known of the entity itself.

    Attributes:
        revision: +1 with every change of this state; readers wait for it.
        deleted_at: When the entity was deleted; its state stays for the kind's retention.
        offsets: How far this state reflects its inputs (by log, the offset of the last record).
        recent: Outcomes of the last commands, oldest first; of an owner's that was just applied only the id.
    """

    revision: int
    deleted_at: datetime | None = None
    offsets: Mapping[str, int] = field(default_factory=dict)
    recent: tuple[str | Outcome, ...] = ()

    def reflects(self, log: str, offset: int) -> bool:
        """Whether the state already includes the effect of this record, so that a redelivery is dropped."""
        return holds(self.offsets, log, offset)

    def outcome_of(self, command_id: str, caller: str = "") -> Outcome | None:
        """The remembered outcome of a caller's command; None if it is unknown or forgotten.

        Args:
            caller: Empty for the entity's owner, and for kinds without owners.
        """
        if not caller and command_id in self.recent:
            return Outcome(command_id=command_id)
        for known in self.recent:
            if type(known) is str:  # the most frequent case
                continue
            assert isinstance(known, Outcome)
            if (known.command_id, known.caller) == (command_id, caller):
                return known
        return None

    def counted(self) -> Self:
        """The state after an accepted change; kinds that count their changes override this."""
        return self

    def sealed(self, *, seen: Seen, at: datetime, outcome: Outcome | None = None) -> Self:
        """The state to store: marked with the record it reflects and, for a command, with its outcome."""
        return replace(
            self,
            revision=self.revision + 1,
            offsets=seen.noted(self.offsets),
            recent=self.recent if outcome is None else _remembered(self.recent, outcome, at),
        )


class VersionedEntity(Entity, frozen=True, kw_only=True):
    """A state whose one number is ETag, Kafka header `aggregate_version` and guard of its row.

    Attributes:
        version: Counts the accepted changes of the entity.
    """

    version: int = 0

    def counted(self) -> Self:
        """The state with its version one up."""
        return replace(self, version=self.version + 1)


def _remembered(
    recent: tuple[str | Outcome, ...], outcome: Outcome, at: datetime
) -> tuple[str | Outcome, ...]:
    """The outcomes to keep, oldest first: the last ones, and older ones whose day is not over."""
    plain = outcome.applied and outcome.until is None and not outcome.caller and not outcome.details
    recent = (*recent, outcome.command_id if plain else outcome)
    beyond = [
        known
        for known in recent[:-REMEMBERED_COMMANDS]
        if isinstance(known, Outcome) and known.until is not None and known.until > at
    ]
    return (*beyond[-REMEMBERED_KEYS:], *recent[-REMEMBERED_COMMANDS:])


ENTITY_ID: Final = r"[A-Za-z0-9._:~-]{1,100}"
EntityId = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._:~-]+$")]
"""An id that fits into a path, a key and a column, and is no internal key."""

CommandId = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[\x21-\x7e]+$")]


class Command(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """A request to change an entity; its JSON is the value on the command topic.

    Attributes:
        id: The entity's id, which is the key of its state.
        command_id: Identifies the command; a repeat gets the first outcome.
        expected_version: The version that the entity must still have; None accepts any.
    """

    id: EntityId
    command_id: CommandId
    expected_version: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None

    def request(self) -> Self:
        """The part of it that a repeat under the same `Idempotency-Key` must have in common with it."""
        return self


S = TypeVar("S", bound=Entity)
C = TypeVar("C")
E = TypeVar("E")
V = TypeVar("V", bound=VersionedEntity)


def _never(state: Entity) -> datetime | None:
    return None


def _nothing(state: Entity, at: datetime) -> Sequence[Any]:
    return ()


def _no_details(events: Sequence[Any]) -> Mapping[str, Any]:
    return {}


def _no_events(state: Entity) -> Sequence[Any]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[S, C, E]):
    """The rules of one kind of entity, with their settings bound.

    Attributes:
        name: The name of the table and the agent, and of the kind in metrics and logs.
        state: The type of its states.
        decide: The events that a command leads to. Raises Rejected.
        evolve: The state after an event.
        wake_at: When an entity wants to be woken next; None means never.
        wake: The events that being woken leads to; afterwards `wake_at` must differ.
        missed: The events that a new Kafka, filled from rows, has no announcement of and must have.
        details: What the result of a command says of the events it has led to, beside the state after them;
            a repeat is told the same.
        remembers: Whether states hold the outcomes of the last commands. If not, a repeated command is
            decided again, and only a record that is delivered again is recognised.
        retention: How long a deleted state is kept, so that a repeated command still finds its outcome.
    """

    name: str
    state: type[S]
    decide: Callable[[S | None, C, datetime], Sequence[E]]
    evolve: Callable[[S | None, E], S]
    wake_at: Callable[[S], datetime | None] = _never
    wake: Callable[[S, datetime], Sequence[E]] = _nothing
    missed: Callable[[S], Sequence[E]] = _no_events
    details: Callable[[Sequence[E]], Mapping[str, Any]] = _no_details
    remembers: bool = True
    retention: timedelta = KEPT_FOR

    def due_at(self, state: S) -> datetime | None:
        """When the clock has to handle this entity next: for its wake or, once deleted, for its purge."""
        return self.wake_at(state) if state.deleted_at is None else state.deleted_at + self.retention


def absent(state: Entity | None) -> None:
    """Raises: Rejected: `RESOURCE_CONFLICT` if the id is in use, even by a recently deleted entity."""
    if state is not None:
        raise Rejected("RESOURCE_CONFLICT", "This id is taken", field="id")


def present(state: V | None, command: Command) -> V:
    """The state that a command refers to.

    Raises: Rejected: `RESOURCE_NOT_FOUND`, or `VERSION_MISMATCH` if it has changed since the caller read it.
    """
    if state is None or state.deleted_at is not None:
        raise Rejected("RESOURCE_NOT_FOUND", "Not found")
    if command.expected_version not in (None, state.version):
        raise Rejected("VERSION_MISMATCH", "It has changed since it was read", version=state.version)
    return state
