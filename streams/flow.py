"""A kind of entity on Kafka: its topics, its messages, and what it announces.

A simple kind has exactly one input topic: commands, and among them the wakes that its own clock publishes. So
a replay sees the same records in the same order and decides the same, and one offset per record is all that
redelivery needs. A kind with more inputs must make up for that itself, as clusters do (`agents/clusters.py`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, Generic, NamedTuple

import msgspec
from aiokafka import ConsumerRecord
from msgspec import Struct

from domain.entity import C, E, Kind, S, VersionedEntity
from domain.errors import MalformedRecord, Rejected
from streams.decoding import decode_body, decoder_of
from streams.headers import KEYED, headers_of
from streams.json import encode, from_millis, rfc3339, utc
from streams.messages import Time
from streams.topics import STATE_HISTORY, TopicSpec
from streams.writing.outputs import Output

WAKE_KEY: Final = b"@wake"
"""The key of wakes, which no entity can have as its id."""

CARRIED_ON: Final[tuple[str, ...]] = ("traceparent", "tracestate", "request_id")
"""Headers of a command that all that follows from it carries, too."""


class Wake(Struct, frozen=True, kw_only=True, tag="wake", tag_field="type"):
    """Some entity in this partition wants to be woken; the owner of the partition knows which.

    Attributes:
        at: The clock of the worker that asks, a second opinion for what cannot be undone.
    """

    at: Time


class Cause(NamedTuple):
    """What an event follows from; the same on every replay.

    Attributes:
        id: The command's id, or one made of a wake's moment; the ids of all that follows derive from it.
        at: The broker's time of the command; for a wake the moment itself, however late it is noticed.
        headers: Headers that all resulting records carry on, such as the trace.
        keyed: Whether the command came under an `Idempotency-Key`.
    """

    id: str
    at: datetime
    headers: Mapping[str, str] = MappingProxyType({})
    keyed: bool = False


class Woken(NamedTuple):
    """A wake as an agent reads it.

    Attributes:
        at: The broker's time of its record; entities whose moment has come by then are woken.
        told: The time of the worker that asked.
    """

    at: datetime
    told: datetime


@dataclass(frozen=True, kw_only=True)
class Flow(Generic[S, C, E]):
    """One kind on Kafka; names of topics are without the deployment's prefix.

    Attributes:
        messages: The union of its commands.
        commands, state, results: Its input topic, its changelog, and where its results go.
        public: The topics that anybody may read, with the type of their values.
        announce: The public records that an event leads to.
        shown: The member of the state that readers see.
    """

    kind: Kind[S, C, E]
    messages: Any
    commands: str
    state: str
    public: Mapping[str, type] = field(default_factory=dict)
    announce: Callable[[E, S, Cause], Iterable[Output]] = lambda event, after, cause: ()
    shown: str
    results: str = "command-results"

    @property
    def topics(self) -> tuple[TopicSpec, ...]:
        """Its own topics, as they are declared."""
        month, week, key = timedelta(days=30), timedelta(days=7), f"{self.kind.name} id"
        return (
            TopicSpec(name=self.commands, key=key, retention=week, from_outside=True, dead_letters=True),
            TopicSpec(name=self.state, key=key, history=STATE_HISTORY, dead_letters=True),
            *(TopicSpec(name=name, key=key, retention=month) for name in self.public),
        )

    @cached_property
    def decode(self) -> Callable[[bytes], S]:
        """Reads a value of its changelog."""
        return msgspec.json.Decoder(self.kind.state).decode

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[Any]:
        return decoder_of(self.messages | Wake)

    def read(self, record: ConsumerRecord) -> tuple[C, Cause] | Woken:
        """A record of its input. Raises: MalformedRecord: `invalid_schema` or `bad_key`."""
        try:
            message = decode_body(record.value, self._decoder)
            at = from_millis(record.timestamp)
            if isinstance(message, Wake):
                return Woken(at, utc(message.at, field="at"))
        except Rejected as refusal:
            raise MalformedRecord("invalid_schema", refusal.text) from None
        if record.key != message.id.encode():
            raise MalformedRecord("bad_key", "the key must be the id in the body")
        headers = headers_of(record)
        carried = {name: headers[name] for name in CARRIED_ON if name in headers}
        return message, Cause(message.command_id, at, carried, headers.get(KEYED) == "true")

    def command(self, command: C, headers: Mapping[str, str]) -> Output:
        """The record of a command, from the edge or from another kind."""
        return Output(self.commands, command.id.encode(), encode(command), headers)

    def wake(self, partition: int, at: datetime) -> Output:
        """The record that wakes what is due in a partition."""
        return Output(self.commands, WAKE_KEY, encode(Wake(at=rfc3339(at))), partition=partition)


def announcement(topic: str, key: str, value: object, after: VersionedEntity, cause: Cause) -> Output:
    """A public record with the headers that all of them share."""
    headers = {
        "event_id": cause.id,
        "event_type": topic,
        "aggregate_version": str(after.version),
        "occurred_at": rfc3339(cause.at),
        "schema_version": "1",
        **cause.headers,
    }
    return Output(topic, key.encode(), encode(value), headers)
