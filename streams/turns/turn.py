"""A turn: everything an agent has queued, decided in order and made durable together.

Theory of operation. `take_turns` takes all batches that are queued for an agent and makes one `Turn` of them.
The agent walks over `records` and binds each one as `Here`, by which it reads and changes states and
publishes outputs. Nothing leaves the process meanwhile: states are collected in the turn, so a later record
of the same turn sees what an earlier one has changed, and outputs are collected with the partition of their
record. At the end `commit` makes all of it durable in an order that survives a crash at any point
(`streams.turns.commit`). One commit for many records is why a busy agent is fast: a longer queue makes a
larger turn, not more commits.

The work is kept apart by input partition, in lanes. A partition whose last commit still waits for a leader is
held (`streams.turns.lanes`), and its records are not in the next turn until that commit is done.

A turn writes under the claims that the table has when the turn begins (`streams.claims`). If a
partition moves away and returns during the turn, its records name an outdated claim and no reader counts
them.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from aiokafka import ConsumerRecord
from prometheus_client import Histogram

from domain.errors import MalformedRecord
from domain.offsets import Seen
from streams.json import from_millis
from streams.turns.batch import queued_batches, wake
from streams.turns.commit import Answer, Commit, Lane, Owned, Part, Table
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
    """One agent's work on a list of batches: `get` and `put` states, `publish` outputs, then `commit`.

    Args:
        later: A second table, whose states are stored after those of `table`.
    """

    def __init__(
        self,
        agent: str,
        events: Sequence[Any],
        table: Table[V],
        producer: Producer,
        held: HeldLanes,
        *,
        later: Table[Any] | None = None,
        logs: Mapping[tuple[str, int], str] = MappingProxyType({}),
        committed: Mapping[tuple[str, int], int] = MappingProxyType({}),
    ) -> None:
        self._agent = agent
        self._events = events
        self._producer = producer
        self._held = held
        # Claims are taken now: these decisions must not be written under the claim of a later assignment.
        self._owned = Owned(table, table.ownership())
        self._later = None if later is None else Owned(later, later.ownership())
        self._logs = logs
        self._committed = committed
        self._lanes: dict[int, Lane[V]] = {}
        for event in events:
            partition = event.value.partition
            if (lane := self._lanes.get(partition)) is None:
                lane = self._lanes[partition] = Lane(partition)
            lane.events.append(event)
        self._at = self._lanes[events[0].value.partition]  # the lane of the record that `records` gave last

    def records(self) -> Iterator[ConsumerRecord]:
        """The input, in offset order within each partition.

        Outputs that are published before the next record is taken belong to the partition of this one.
        """
        for event in self._events:
            self._at = self._lanes[event.value.partition]
            yield from event.value.records

    def log_of(self, record: ConsumerRecord) -> str:
        """The log that a record belongs to, as states remember it (`domain.offsets`)."""
        return self._logs.get((record.topic, record.partition), record.topic)

    def get(self, partition: int, key: bytes) -> V | None:
        """The state of a key, with the changes of this turn so far."""
        lane = self._lanes.get(partition)
        if lane is not None and key in lane.states:
            return lane.states[key]
        return self._owned.table.get(partition, key)

    def get_later(self, partition: int, key: bytes) -> Any | None:
        """The state of a key in the second table, with the changes of this turn so far."""
        assert self._later is not None
        lane = self._lanes.get(partition)
        if lane is not None and key in lane.later:
            return lane.later[key]
        return self._later.table.get(partition, key)

    def put_later(self, partition: int, key: bytes, value: Any | None) -> None:
        """Change the state of a key in the second table; None deletes it."""
        lane = self._lanes[partition]
        lane.later[key] = lane.parts[-1].later[key] = value

    def put(self, partition: int, key: bytes, value: V | None, answer: Answer | None = None) -> None:
        """Change the state of a key in a partition of this turn; None deletes it.

        Args:
            answer: What it is the answer to, if it is.
        """
        lane = self._lanes[partition]
        lane.states[key] = value
        lane.parts[-1].put(key, value, answer)

    def separate(self, partition: int, key: bytes) -> None:
        """Have what this turn has done to a key so far committed before anything that follows."""
        if key in (parts := self._lanes[partition].parts)[-1].states:
            parts.append(Part())

    def answer_by_results(self, partition: int, key: bytes) -> None:
        """Answer by results, and now, what the state of a key was to answer at the end of this turn."""
        if (lane := self._lanes.get(partition)) is not None:
            lane.parts[-1].answer_by_results(key)

    def size(self) -> int:
        """How many states this turn has changed."""
        return sum(len(lane.states) for lane in self._lanes.values())

    def touched(self, partition: int) -> Mapping[bytes, V | None]:
        """Every state of a partition that this turn has changed."""
        lane = self._lanes.get(partition)
        return {} if lane is None else lane.states

    def publish(self, output: Output) -> None:
        """Publish with this turn."""
        part = self._at.parts[-1]
        (part.beforehand if output.beforehand else part.outputs).append(output)

    def committed(self, partition: int, offsets: Mapping[str, int]) -> bool:
        """Whether none of the records up to these offsets, by log, will ever be delivered again.

        A log that this agent no longer reads, because its topic was created again, cannot be redelivered.
        """
        for (topic, number), log in self._logs.items():
            if number == partition and offsets.get(log, -1) >= self._committed.get((topic, number), 0):
                return False
        return True

    @contextmanager
    def stored_first(self) -> Iterator[None]:
        """Within the block, states are stored before anything is published.

        This is for decisions that depend on the order in which records of several topics arrived, because a
        replay need not repeat that order, and a published decision must not change. The agent that decides so
        must publish the decision again when the record is redelivered, since a crash may follow the storing.
        Work from before the block is committed before it.
        """
        parts = self._at.parts
        parts.append(Part(state_first=True))
        try:
            yield
        finally:
            parts.append(Part())

    def park(self, record: ConsumerRecord, error: MalformedRecord) -> None:
        """Park a bad record in its dead-letter topic, with its origin and its fault."""
        self.publish(parked(record, error))

    async def commit(self, committed: Callable[[Lane[V]], None] | None = None) -> None:
        """Make everything durable in its order; return when the input will not be delivered again.

        Partitions without a leader are the exception: they are held and committed later.

        Args:
            committed: Called with each partition's work when it is done.
        """
        lanes = [*self._lanes.values()]
        for lane in lanes:
            lane.begin(self._owned, self._later)
        tables = [each.table for each in (self._owned, self._later) if each is not None]
        await Commit(tables, self._producer, self._held, committed).run(lanes)
        TURN_RECORDS.labels(self._agent).observe(sum(len(event.value.records) for event in self._events))


class Here(Generic[V]):
    """One record of a turn, and the state of its key.

    Attributes:
        record: The record that is being handled.
        partition: Its partition, which also holds the state of its key.
        key: The key of the state that it concerns: its own, empty if it has none, unless another is given.
    """

    __slots__ = ("_turn", "key", "partition", "record")

    def __init__(self, turn: Turn[V], record: ConsumerRecord, key: bytes | None = None) -> None:
        self._turn = turn
        self.record = record
        self.partition: int = record.partition
        self.key: bytes = (record.key or b"") if key is None else key

    def at_key(self, key: bytes) -> "Here[V]":
        """The same record, at the state of another key of its partition."""
        return Here(self._turn, self.record, key)

    @property
    def at(self) -> datetime:
        """The broker's time of the record, which decisions use."""
        return from_millis(self.record.timestamp)

    @property
    def log(self) -> str:
        """The log that the record belongs to, as states remember it (`domain.offsets`)."""
        return self._turn.log_of(self.record)

    @property
    def seen(self) -> Seen:
        """The position of the record, for the state that reflects it."""
        return Seen(self.log, self.record.offset)

    def get(self, key: bytes | None = None) -> V | None:
        """The state of the record's key, or of another key of its partition, with the turn's changes."""
        return self._turn.get(self.partition, self.key if key is None else key)

    def put(self, state: V | None, key: bytes | None = None, *, answer: Answer | None = None) -> None:
        """Change the state of the record's key, or of another one of its partition; None deletes it."""
        self._turn.put(self.partition, self.key if key is None else key, state, answer)

    def get_later(self, key: bytes | None = None) -> Any | None:
        """The state of the record's key, or of another, in the turn's second table."""
        return self._turn.get_later(self.partition, self.key if key is None else key)

    def put_later(self, state: Any | None, key: bytes | None = None) -> None:
        """Change the state of the record's key, or of another, in the second table; None deletes it."""
        self._turn.put_later(self.partition, self.key if key is None else key, state)

    def separate(self) -> None:
        """Have what this turn has done to the key so far committed before anything that follows."""
        self._turn.separate(self.partition, self.key)

    def answer_by_results(self) -> None:
        """Answer by results, and now, what the state of the record's key was to answer."""
        self._turn.answer_by_results(self.partition, self.key)

    def touched(self) -> Mapping[bytes, V | None]:
        """The states of the record's partition that the turn has changed so far."""
        return self._turn.touched(self.partition)

    def turn_size(self) -> int:
        """How many states the turn has changed so far, in all partitions."""
        return self._turn.size()

    def publish(self, output: Output) -> None:
        """Publish with the turn."""
        self._turn.publish(output)

    def park(self, error: MalformedRecord) -> None:
        """Park the record in its dead-letter topic."""
        self._turn.park(self.record, error)

    def stored_first(self) -> AbstractContextManager[None]:
        """Within the block, states are stored before anything is published (`Turn.stored_first`)."""
        return self._turn.stored_first()

    def committed(self, offsets: Mapping[str, int]) -> bool:
        """Whether no record up to these offsets, by log, will ever be delivered again."""
        return self._turn.committed(self.partition, offsets)


async def take_turns(
    agent: str, stream: Any, table: Table[V], producer: Producer, *, later: Table[Any] | None = None
) -> AsyncIterator[Turn[V]]:
    """Turns over everything that is queued for an agent, one after the other."""
    held = stream.app.lanes[agent]
    held.wake = partial(wake, stream)
    async for events in queued_batches(stream, admit=held.admit):
        with TURN_SECONDS.labels(agent).time():
            yield Turn(
                agent,
                events,
                table,
                producer,
                held,
                later=later,
                logs=stream.app.logs,
                committed=stream.app.committed,
            )
