"""The records of `cluster-events` as rows: events of clusters in one table, all others in another."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, NamedTuple

import asyncpg
import msgspec
from aiokafka import ConsumerRecord
from msgspec import Meta, Raw, Struct

from domain.errors import MalformedRecord
from sinks.cluster.mapping import EventRows
from sinks.mapping import Change, columns_of, decoded, text_of
from streams.envelope import HEALTH_CHANGED
from streams.messages import UUID_PATTERN

INSERT: Final = """
INSERT INTO events (event_id, type, key, cluster_id, trace_id, payload, timestamp)
SELECT * FROM unnest(
    $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::timestamptz[]
)
ON CONFLICT (event_id) DO NOTHING
"""

OF_CLUSTERS: Final = "cluster."
"""With what the types of clusters' events begin."""

# As the columns are, so that the database does not have to refuse a stranger's record.
_Text = Annotated[str, Meta(max_length=255)]


class OperationRow(NamedTuple):
    """A row of `events`."""

    event_id: str
    type: str
    key: str
    cluster_id: str | None
    trace_id: str | None
    payload: str
    timestamp: datetime


class _Typed(Struct):
    type: str = ""


class _Operation(Struct):
    event_id: Annotated[str, Meta(pattern=UUID_PATTERN)]
    type: Annotated[str, Meta(min_length=1, max_length=100)]
    timestamp: Annotated[datetime, Meta(tz=True)]
    payload: Raw
    cluster_id: _Text | None = None
    trace_id: _Text | None = None


_type_of = msgspec.json.Decoder(_Typed).decode
_operation = msgspec.json.Decoder(_Operation).decode


class AllEventRows:
    """Every public event (`sinks.mapping.RowMapping`)."""

    transient: Collection[str] = frozenset()

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self._clusters = EventRows(topic)

    def read(self, record: ConsumerRecord) -> Any:
        """The row of an event. Raises: MalformedRecord: `bad_key` or `invalid_schema`."""
        type_ = decoded(record, _type_of).type
        if type_.startswith(OF_CLUSTERS) and type_ != HEALTH_CHANGED:
            return self._clusters.read(record)
        event = decoded(record, _operation)
        return OperationRow(
            event.event_id,
            event.type,
            _key_of(record),
            event.cluster_id,
            event.trace_id,
            text_of(event.payload),
            event.timestamp,
        )

    async def write(
        self, connection: asyncpg.Connection, changes: Sequence[Change], *, make_room: bool
    ) -> Mapping[str, int]:
        """Add events. A repeated event changes nothing, so there is never room to make."""
        operations = [change.content for change in changes if isinstance(change.content, OperationRow)]
        if not operations:
            return await self._clusters.write(connection, changes, make_room=make_room)
        await connection.execute(INSERT, *columns_of(operations))
        others = [change for change in changes if not isinstance(change.content, OperationRow)]
        written = {"events": len(operations)}
        if others:
            written |= await self._clusters.write(connection, others, make_room=make_room)
        return written


def _key_of(record: ConsumerRecord) -> str:
    """Raises: MalformedRecord: `bad_key`."""
    try:
        key = (record.key or b"").decode()
    except UnicodeDecodeError:
        key = ""
    if not 1 <= len(key) <= 255 or "\0" in key:
        raise MalformedRecord("bad_key", "the key must be the id of what the event is about")
    return key
