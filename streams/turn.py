"""A turn: everything queued for an agent, decided in order and acknowledged together.

The order of a commit is the promise of the whole product: outputs acknowledged, then changelog, then the
table in memory, then the input offsets. A crash between any two is decided again, alike, from the old
state; consumers drop what they see twice by its id.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from aiokafka import ConsumerRecord
from aiokafka.structs import RecordMetadata
from prometheus_client import Histogram

from domain.errors import MalformedRecord, TransientError
from streams.batches import queued_batches
from streams.dead_letters import parked
from streams.producer import Output, Producer

log = logging.getLogger("clusterflow.turn")

V = TypeVar("V")

TURN_RECORDS = Histogram(
    "clusterflow_turn_records",
    "Records decided in one turn",
    ["agent"],
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000),
)
TURN_SECONDS = Histogram("clusterflow_turn_seconds", "Time of one turn, commit included", ["agent"])


class Table(Protocol[V]):
    """What a turn needs of a table; `tables.typed` has it on top of Faust."""

    changelog_topic: str

    def get(self, partition: int, key: bytes) -> V | None:
        """The stored value."""

    def encode(self, value: V) -> bytes:
        """The bytes of a value, as they go to the changelog and into memory."""

    def headers(self, partition: int) -> Mapping[str, str]:
        """The headers of a record of the changelog."""

    def store(self, partition: int, key: bytes, data: bytes | None, *, offset: int) -> None:
        """Put bytes into memory that the changelog holds at this offset; None removes."""


class Turn(Generic[V]):
    """One agent's work on a list of batches: `get` and `put` states, `publish` outputs, then `commit`."""

    def __init__(self, agent: str, events: Sequence[Any], table: Table[V], producer: Producer) -> None:
        self._agent = agent
        self._events = events
        self._table = table
        self._producer = producer
        self._dirty: dict[tuple[int, bytes], V | None] = {}
        self._beforehand: list[Output] = []
        self._outputs: list[Output] = []

    def records(self) -> Iterator[ConsumerRecord]:
        """The input, in offset order within each partition."""
        for event in self._events:
            yield from event.value.records

    def get(self, partition: int, key: bytes) -> V | None:
        """The state of a key as this turn has it so far."""
        place = (partition, key)
        return self._dirty[place] if place in self._dirty else self._table.get(partition, key)

    def put(self, partition: int, key: bytes, value: V | None) -> None:
        """Change the state of a key; None deletes it."""
        self._dirty[partition, key] = value

    def touched(self) -> Iterator[tuple[int, bytes, V | None]]:
        """Every state this turn has changed."""
        for (partition, key), value in self._dirty.items():
            yield partition, key, value

    def publish(self, output: Output, *, beforehand: bool = False) -> None:
        """Publish with this turn; `beforehand` if it must be in its log before the other outputs are."""
        (self._beforehand if beforehand else self._outputs).append(output)

    def park(self, record: ConsumerRecord, error: MalformedRecord) -> None:
        """Park a bad record in its dead-letter topic, with where it came from and what is wrong with it."""
        self.publish(parked(record, error))

    async def commit(self) -> None:
        """Acknowledge everything in its order; returns when the input will not be seen again."""
        await self._published(self._beforehand)
        await self._published(self._outputs)
        changed = [
            (partition, key, None if value is None else self._table.encode(value))
            for (partition, key), value in self._dirty.items()
        ]
        topic = self._table.changelog_topic
        headers = self._table.headers
        stored = await self._published([Output(topic, key, data, headers(p), p) for p, key, data in changed])
        for (partition, key, data), position in zip(changed, stored, strict=True):
            self._table.store(partition, key, data, offset=position.offset)
        for event in self._events:
            event.ack()
        TURN_RECORDS.labels(self._agent).observe(sum(len(event.value.records) for event in self._events))

    async def _published(self, outputs: Sequence[Output]) -> list[RecordMetadata]:
        while True:
            try:
                return await self._producer.publish(outputs)
            except TransientError as error:
                log.warning("trying again", extra={"agent": self._agent, "error": str(error)})
                await asyncio.sleep(error.retry_after)


async def take_turns(agent: str, stream: Any, table: Table[V], producer: Producer) -> AsyncIterator[Turn[V]]:
    """Turns over everything an agent is sent, one after the other."""
    async for events in queued_batches(stream):
        with TURN_SECONDS.labels(agent).time():
            yield Turn(agent, events, table, producer)


def headers_of(record: ConsumerRecord) -> dict[str, str]:
    """A record's headers as text; what is not UTF-8 is left out, since headers are hints only."""
    headers = {}
    for name, value in record.headers:
        try:
            headers[name] = value.decode()
        except (UnicodeDecodeError, AttributeError):
            continue
    return headers
