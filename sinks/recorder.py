"""The role `recorder`: keeps one row of every public record of the simple kinds.

A row has the whole value, and columns by which rows are found: what the record is about, and what was done or
is to be done. The type of a topic's values tells where these come from. A value with `resource_id` is about
work on a resource, and has the columns as members. Any other value is about the entity itself: its member
`id` is the resource, and the topic's name ends with what was done.

Records come at least once, and each event has one row all the same: its id is the key. Rows and positions are
written in one transaction, as all rows here.
"""

import asyncio
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Annotated, Any, Final, NamedTuple

import asyncpg
import msgspec
from aiokafka import ConsumerRecord
from msgspec import Meta, Struct

from domain.ids import deterministic_id
from sinks import role
from sinks.mapping import Change, Mappings, columns_of, decoded
from sinks.settings import SinkSettings
from streams.flow import Flow
from streams.flows import PUBLIC, SIMPLE_FLOWS
from streams.headers import headers_of
from streams.kafka.roles import RECORDER
from streams.messages import UUID_PATTERN
from streams.settings import RECORDER_GROUP
from streams.trace import trace_id

_INSERT: Final = """
INSERT INTO processed_events (event_type, id, resource_id, task_id, action, payload, trace_id)
SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::jsonb[], $7::text[])
ON CONFLICT (id) DO NOTHING
"""

_UUID: Final = re.compile(UUID_PATTERN)

# As the columns are, so that the database does not have to refuse a stranger's record.
_Text = Annotated[str, Meta(min_length=1, max_length=100)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderSettings(SinkSettings):
    """The settings of the recorder, which is a sink of public records.

    Attributes:
        recorded: The topics to record, without the deployment's prefix.
    """

    role: str = RECORDER
    group_id: str = RECORDER_GROUP
    recorded: tuple[str, ...] = PUBLIC


class EventRow(NamedTuple):
    """A row of `processed_events`, without the type of the event."""

    id: str
    resource_id: str
    task_id: str | None
    action: str
    payload: str
    trace_id: str | None


class _OfWork(Struct):
    resource_id: _Text
    task_id: _Text
    action: _Text


class _OfEntity(Struct):
    id: _Text


_work_decoder: Final = msgspec.json.Decoder(_OfWork)
_entity_decoder: Final = msgspec.json.Decoder(_OfEntity)


class PublicRows:
    """The records of one public topic (`sinks.mapping.RowMapping`).

    Args:
        name: The topic without the deployment's prefix, which is the type of its events.
        value: The type of its values.

    Raises: TypeError: such a value says neither `resource_id` nor `id`.
    """

    transient: Collection[str] = frozenset()

    def __init__(self, prefix: str, name: str, value: type) -> None:
        self.topic = prefix + name
        self._type = name
        self._about = self._work if _has(value, _OfWork) else self._entity
        if self._about == self._entity and not _has(value, _OfEntity):
            raise TypeError(f"{value.__name__} has no member that says what a record of {name} is about")

    def read(self, record: ConsumerRecord) -> EventRow:
        """The row of a record, with any key or none. Raises: MalformedRecord: `invalid_schema`."""
        resource_id, task_id, action = self._about(record)
        headers = headers_of(record)
        return EventRow(
            _id_of(record, headers),
            resource_id,
            task_id,
            action,
            str(record.value, "utf-8"),
            trace_id(headers) or None,
        )

    def _work(self, record: ConsumerRecord) -> tuple[str, str | None, str]:
        found = decoded(record, _work_decoder.decode)
        return found.resource_id, found.task_id, found.action

    def _entity(self, record: ConsumerRecord) -> tuple[str, str | None, str]:
        return decoded(record, _entity_decoder.decode).id, None, self._type.rpartition(".")[2]

    async def write(
        self, connection: asyncpg.Connection, changes: Sequence[Change], *, make_room: bool
    ) -> Mapping[str, int]:
        """Add rows. A repeated event changes nothing, so there is never room to make."""
        # In the order of ids, against deadlocks of writers.
        rows = sorted((change.content for change in changes), key=itemgetter(0))
        await connection.execute(_INSERT, self._type, *columns_of(rows))
        return {"processed_events": len(rows)}


def mappings(
    prefix: str, recorded: Collection[str], flows: Iterable[Flow[Any, Any, Any]] = SIMPLE_FLOWS
) -> Mappings:
    """The mappings of a deployment, for the public topics of these names."""
    public = {name: value for flow in flows for name, value in flow.public.items() if name in recorded}
    return Mappings(changelogs=(), others=[PublicRows(prefix, *each) for each in public.items()])


async def run(
    settings: RecorderSettings,
    *,
    stop: asyncio.Event,
    ready: Callable[[bool], None] = lambda available: None,
) -> None:
    """Record until asked to stop (`sinks.role.run`)."""
    share = role.Share(settings.database, mappings(settings.topics.prefix, settings.recorded))
    await role.run(settings, [share], stop=stop, ready=ready)


def _id_of(record: ConsumerRecord, headers: Mapping[str, str]) -> str:
    """The id of the event; for a record that has none, one that each delivery repeats."""
    given = headers.get("event_id", "")
    if _UUID.fullmatch(given):
        return given.lower()
    return deterministic_id(record.topic, record.partition, record.offset)


def _has(value: type, members: type) -> bool:
    """Whether a type has all members of another."""
    names = {member.name for member in msgspec.structs.fields(value)}
    return names.issuperset(member.name for member in msgspec.structs.fields(members))
