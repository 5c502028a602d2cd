"""A turn: everything queued for an agent, decided in order and acknowledged together.

The order of a commit is the promise of the whole product: outputs acknowledged, then changelog, then the
table in memory, then the input offsets. A crash between any two is decided again, alike, from the old
state; consumers drop what they see twice by its id. Where a replay could decide otherwise, the state goes
first (`Turn.stored_first`).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

from aiokafka import ConsumerRecord
from prometheus_client import Histogram

from domain.errors import MalformedRecord, TransientError
from streams.batch import queued_batches
from streams.dead_letters import parked
from streams.producer import Output, Position, Producer

log = logging.getLogger("clusterflow.turn")

V = TypeVar("V")

TURN_RECORDS = Histogram(
    "clusterflow_turn_records",
    "Records decided in one turn",
    ["agent"],
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000),
)
TURN_SECONDS = Histogram("clusterflow_turn_seconds", "Time of one turn, commit included", ["agent"])


Ownership = Callable[[int], Mapping[str, str]]
"""The headers of records of the changelog, per partition."""


class Table(Protocol[V]):
    """What a turn needs of a table; `tables.typed` has it on top of Faust."""

    changelog_topic: str

    def get(self, partition: int, key: bytes) -> V | None:
        """The stored value."""

    def encode(self, value: V) -> bytes:
        """The bytes of a value, as they go to the changelog and into memory."""

    def ownership(self) -> Ownership:
        """Under what, from now on, the partitions are written that are ours now."""

    def store(self, partition: int, key: bytes, data: bytes | None, *, offset: int) -> None:
        """Put bytes into memory that the changelog holds at this offset; None removes."""

    async def settle(self) -> None:
        """See to what others have written between our own records.

        Raises: whatever makes this memory out of date.
        """


@dataclass(slots=True)
class _Part(Generic[V]):
    """Some records' work: what they publish and which states they leave.

    Attributes:
        beforehand: Outputs that must be in their log before the others are.
        state_first: Whether states are stored before anything is told, instead of after.
    """

    state_first: bool = False
    beforehand: list[Output] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    states: dict[tuple[int, bytes], V | None] = field(default_factory=dict)


class Turn(Generic[V]):
    """One agent's work on a list of batches: `get` and `put` states, `publish` outputs, then `commit`."""

    def __init__(
        self,
        agent: str,
        events: Sequence[Any],
        table: Table[V],
        producer: Producer,
        *,
        logs: Mapping[tuple[str, int], str] = MappingProxyType({}),
    ) -> None:
        self._agent = agent
        self._events = events
        self._table = table
        self._producer = producer
        # As of now: what is decided here must not be written under the claim of a later assignment.
        self._headers = table.ownership()
        self._logs = logs
        self._dirty: dict[tuple[int, bytes], V | None] = {}
        self._parts: list[_Part[V]] = [_Part()]

    def records(self) -> Iterator[ConsumerRecord]:
        """The input, in offset order within each partition."""
        for event in self._events:
            yield from event.value.records

    def log_of(self, record: ConsumerRecord) -> str:
        """The log that a record is of, as states remember it (`domain.offsets`)."""
        return self._logs.get((record.topic, record.partition), record.topic)

    def get(self, partition: int, key: bytes) -> V | None:
        """The state of a key as this turn has it so far."""
        place = (partition, key)
        return self._dirty[place] if place in self._dirty else self._table.get(partition, key)

    def put(self, partition: int, key: bytes, value: V | None) -> None:
        """Change the state of a key; None deletes it."""
        self._dirty[partition, key] = self._parts[-1].states[partition, key] = value

    def touched(self) -> Iterator[tuple[int, bytes, V | None]]:
        """Every state this turn has changed."""
        for (partition, key), value in self._dirty.items():
            yield partition, key, value

    def publish(self, output: Output, *, beforehand: bool = False) -> None:
        """Publish with this turn; `beforehand` if it must be in its log before the other outputs are."""
        part = self._parts[-1]
        (part.beforehand if beforehand else part.outputs).append(output)

    @contextmanager
    def stored_first(self) -> Iterator[None]:
        """Within the block, states are stored before anything is told.

        For a decision that depends on the order in which records of several topics came, which a replay need
        not repeat: once told it must stand. Who decides so must tell it again when the record comes again,
        since a crash may follow the storing. What came before the block is done before it.
        """
        self._parts.append(_Part(state_first=True))
        try:
            yield
        finally:
            self._parts.append(_Part())

    def park(self, record: ConsumerRecord, error: MalformedRecord) -> None:
        """Park a bad record in its dead-letter topic, with where it came from and what is wrong with it."""
        self.publish(parked(record, error))

    async def commit(self) -> None:
        """Acknowledge everything in its order; returns when the input will not be seen again."""
        for part in self._parts:
            if part.state_first:
                await self._store(part)
                await self._tell(part)
            else:
                await self._tell(part)
                await self._store(part)
        for event in self._events:
            event.ack()
        TURN_RECORDS.labels(self._agent).observe(sum(len(event.value.records) for event in self._events))

    async def _tell(self, part: _Part[V]) -> None:
        await self._published(part.beforehand)
        await self._published(part.outputs)

    async def _store(self, part: _Part[V]) -> None:
        changed = [
            (partition, key, None if value is None else self._table.encode(value))
            for (partition, key), value in part.states.items()
        ]
        topic = self._table.changelog_topic
        headers = {partition: self._headers(partition) for partition in {place[0] for place in part.states}}
        stored = await self._published([Output(topic, key, data, headers[p], p) for p, key, data in changed])
        for (partition, key, data), position in zip(changed, stored, strict=True):
            self._table.store(partition, key, data, offset=position.offset)
        await self._table.settle()

    async def _published(self, outputs: Sequence[Output]) -> list[Position]:
        return await published(self._producer, outputs)


async def published(producer: Producer, outputs: Sequence[Output]) -> list[Position]:
    """Publish, and try again for as long as that may help; returns the positions of all."""
    while True:
        try:
            return await producer.publish(outputs)
        except TransientError as error:
            topics = sorted({output.topic for output in outputs})
            log.warning("trying again", extra={"topics": topics, "error": str(error)})
            await asyncio.sleep(error.retry_after)


async def take_turns(agent: str, stream: Any, table: Table[V], producer: Producer) -> AsyncIterator[Turn[V]]:
    """Turns over everything an agent is sent, one after the other."""
    async for events in queued_batches(stream):
        with TURN_SECONDS.labels(agent).time():
            yield Turn(agent, events, table, producer, logs=stream.app.logs)


def headers_of(record: ConsumerRecord) -> dict[str, str]:
    """A record's headers as text; what is not UTF-8 is left out, since headers are hints only."""
    headers = {}
    for name, value in record.headers:
        try:
            headers[name] = value.decode()
        except (UnicodeDecodeError, AttributeError):
            continue
    return headers
