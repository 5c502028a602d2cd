"""A turn: what an agent has queued, decided in order and made durable together (`streams.turns.commit`)."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from aiokafka import ConsumerRecord
from prometheus_client import Histogram

from domain.errors import MalformedRecord
from streams.turns.batch import queued_batches, wake
from streams.turns.commit import Commit, Lane, Part, Table
from streams.turns.lanes import HeldLanes
from streams.writing.dead_letters import parked
from streams.writing.outputs import Output
from streams.writing.producer import Producer

V = TypeVar("V")

TURN_RECORDS = Histogram(
    "clusterflow_turn_records",
    "Records decided in one turn",
    ["agent"],
    buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000),
)
TURN_SECONDS = Histogram("clusterflow_turn_seconds", "Time of one turn, commit included", ["agent"])


class Turn(Generic[V]):
    """One agent's work on a list of batches: `get` and `put` states, `publish` outputs, then `commit`."""

    def __init__(
        self,
        agent: str,
        events: Sequence[Any],
        table: Table[V],
        producer: Producer,
        held: HeldLanes,
        *,
        logs: Mapping[tuple[str, int], str] = MappingProxyType({}),
    ) -> None:
        self._agent = agent
        self._events = events
        self._table = table
        self._producer = producer
        self._held = held
        # As of now: what is decided here must not be written under the claim of a later assignment.
        self._ownership = table.ownership()
        self._logs = logs
        self._lanes: dict[int, Lane[V]] = {}
        for event in events:
            partition = event.value.partition
            if (lane := self._lanes.get(partition)) is None:
                lane = self._lanes[partition] = Lane(partition)
            lane.events.append(event)
        self._at = self._lanes[events[0].value.partition]  # the lane of the record that `records` gave last

    def records(self) -> Iterator[ConsumerRecord]:
        """The input, in offset order within each partition.

        What is published before the next one is asked for belongs to the partition of that record.
        """
        for event in self._events:
            self._at = self._lanes[event.value.partition]
            yield from event.value.records

    def log_of(self, record: ConsumerRecord) -> str:
        """The log that a record is of, as states remember it (`domain.offsets`)."""
        return self._logs.get((record.topic, record.partition), record.topic)

    def get(self, partition: int, key: bytes) -> V | None:
        """The state of a key as this turn has it so far."""
        lane = self._lanes.get(partition)
        if lane is not None and key in lane.states:
            return lane.states[key]
        return self._table.get(partition, key)

    def put(self, partition: int, key: bytes, value: V | None) -> None:
        """Change the state of a key of a partition that this turn has records of; None deletes it."""
        lane = self._lanes[partition]
        lane.states[key] = lane.parts[-1].states[key] = value

    def touched(self) -> Iterator[tuple[int, bytes, V | None]]:
        """Every state this turn has changed."""
        for partition, lane in self._lanes.items():
            for key, value in lane.states.items():
                yield partition, key, value

    def publish(self, output: Output, *, beforehand: bool = False) -> None:
        """Publish with this turn; `beforehand` if it must be in its log before the other outputs are."""
        part = self._at.parts[-1]
        (part.beforehand if beforehand else part.outputs).append(output)

    @contextmanager
    def stored_first(self) -> Iterator[None]:
        """Within the block, states are stored before anything is told.

        For a decision that depends on the order in which records of several topics came, which a replay need
        not repeat: once told it must stand. Who decides so must tell it again when the record comes again,
        since a crash may follow the storing. What came before the block is done before it.
        """
        parts = self._at.parts
        parts.append(Part(state_first=True))
        try:
            yield
        finally:
            parts.append(Part())

    def park(self, record: ConsumerRecord, error: MalformedRecord) -> None:
        """Park a bad record in its dead-letter topic, with where it came from and what is wrong with it."""
        self.publish(parked(record, error))

    async def commit(self, committed: Callable[[Lane[V]], None] | None = None) -> None:
        """Acknowledge everything in its order; returns when the input will not be seen again.

        Of partitions without leader it may be: they are held, and done later.

        Args:
            committed: Told of each partition's work when it is done.
        """
        lanes = [*self._lanes.values()]
        for lane in lanes:
            lane.begin(self._table, self._ownership)
        await Commit(self._table, self._producer, self._held, committed).run(lanes)
        TURN_RECORDS.labels(self._agent).observe(sum(len(event.value.records) for event in self._events))


async def take_turns(agent: str, stream: Any, table: Table[V], producer: Producer) -> AsyncIterator[Turn[V]]:
    """Turns over everything an agent is sent, one after the other."""
    held = stream.app.lanes[agent]
    held.wake = partial(wake, stream)
    async for events in queued_batches(stream, admit=held.admit):
        with TURN_SECONDS.labels(agent).time():
            yield Turn(agent, events, table, producer, held, logs=stream.app.logs)
