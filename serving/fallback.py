"""Writes while Kafka takes none: commands are stored in the outbox, for a relay to publish them.

The caller is told what the entity will be, as far as this process knows: by the rules of the kind, from the
state that readers see here and the commands that wait in the outbox. Its owner decides when they come there,
in the order of the rows. So while rows of an entity wait, all its writes go this way, or a later one would
overtake them.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import reduce
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec
from msgspec import Raw

from database.pool import CLIENT_ERRORS, Pool
from domain.entity import Command, VersionedEntity
from domain.errors import Rejected, Unavailable
from serving.submit import WriteResult
from streams.flow import Flow
from streams.json import encode
from tables.entries import KindEntry

log = logging.getLogger("clusterflow.api_server")

WITHIN: Final = 1.0
"""Seconds for the database to say whether rows of an entity wait."""

_PENDING: Final = "aggregate_id = $1 AND processed_at IS NULL AND parked_at IS NULL"

WAITS: Final = f"SELECT EXISTS (SELECT FROM outbox_events WHERE {_PENDING})"  # noqa: S608

WAITING: Final = f"""
SELECT payload::text, created_at FROM outbox_events WHERE {_PENDING} AND event_type = $2 ORDER BY seq
"""  # noqa: S608

STORE: Final = """
INSERT INTO outbox_events (id, aggregate_id, event_type, payload, headers) VALUES ($1, $2, $3, $4, $5)
"""

# Writes of one entity at the same time must see each other's rows; the rows of others are not concerned.
LOCK: Final = "SELECT now() FROM pg_advisory_xact_lock(hashtextextended($1, 0))"

AnyFlow = Flow[Any, Any, Any]


class Fallback:
    """The outbox of this process's writes.

    Args:
        flows: The flows of kinds as they are declared, with the rules of this deployment.
    """

    def __init__(self, pool: Pool, flows: Iterable[AnyFlow]) -> None:
        self._pool = pool
        self._flows: Mapping[str, AnyFlow] = {flow.kind.name: flow for flow in flows}

    async def waits(self, entity_id: str) -> bool:
        """Whether rows of an entity are not published yet; False if the database does not answer."""
        try:
            async with self._pool.connection("outbox_waits") as connection:
                return bool(await connection.fetchval(WAITS, entity_id, timeout=WITHIN))
        except (asyncpg.PostgresError, *CLIENT_ERRORS) as error:
            log.warning("the outbox does not answer", extra={"error": type(error).__name__})
            return False

    async def store(
        self,
        kind: str,
        command: Command,
        headers: Mapping[str, str],
        entry: KindEntry | None,
        why: Unavailable,
    ) -> WriteResult:
        """Store a command; return what it will have led to. A repeat is stored once.

        Args:
            entry: The entity as readers see it here.
            why: Why Kafka was not used; raised if the outbox cannot be used either.

        Raises:
            Rejected: as its rules do.
            Unavailable.
        """
        flow = self._flows[kind]
        try:
            async with self._pool.transaction("outbox_store") as connection:
                at = await connection.fetchval(LOCK, command.id)  # as the row will have it
                rows = await connection.fetch(WAITING, command.id, flow.commands)
                waiting = [_Waiting(flow.read_command(payload.encode()), at) for payload, at in rows]
                if (known := _led_to(flow, entry, waiting, command)) is not None:
                    return known
                result = _decided(flow, _state_of(flow, entry, waiting), command, at)
                body, told = encode(command).decode(), encode(headers).decode()
                await connection.execute(STORE, command.command_id, command.id, flow.commands, body, told)
        except (asyncpg.PostgresError, *CLIENT_ERRORS) as error:
            log.warning("a write was not stored", extra={"error": type(error).__name__})
            raise why from error
        except msgspec.ValidationError:  # its rules need more of a state than readers see
            raise why from None
        return result


class _Waiting(NamedTuple):
    """A command that is stored, and when it was."""

    command: Any
    at: datetime


def _led_to(
    flow: AnyFlow, entry: KindEntry | None, waiting: Sequence[_Waiting], command: Command
) -> WriteResult | None:
    """What a command will have led to that is stored already; None if it is not."""
    for number, earlier in enumerate(waiting):
        if earlier.command.command_id == command.command_id:
            return _decided(flow, _state_of(flow, entry, waiting[:number]), *earlier)
    return None


def _state_of(flow: AnyFlow, entry: KindEntry | None, waiting: Iterable[_Waiting]) -> VersionedEntity | None:
    """The state once the commands that wait are decided. Raises: ValidationError: not to be known here."""
    state: VersionedEntity | None = None
    if entry is not None:
        members = {"revision": 1, "version": int(entry.version), flow.shown: Raw(entry.document)}
        state = flow.decode(encode(members))
    for command, at in waiting:
        try:
            state = _after(flow, state, command, at)
        except Rejected:
            continue
    return state


def _after(flow: AnyFlow, state: Any, command: Any, at: datetime) -> Any:
    events = flow.kind.decide(state, command, at)
    after = reduce(flow.kind.evolve, events, state)
    return after.counted() if events else after


def _decided(flow: AnyFlow, state: Any, command: Any, at: datetime) -> WriteResult:
    after = _after(flow, state, command, at)
    result = WriteResult(command_id=command.command_id, outcome="applied", deferred=True)
    if after is not None and after.deleted_at is None:
        result.document = Raw(encode(getattr(after, flow.shown)))
    return result
