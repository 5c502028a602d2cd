"""The commit of a turn, in lanes: its order holds in each partition, and none delays another for long.

The order is the promise of the whole product: outputs are acknowledged, then the changelog, then the table in
memory changes, then the input offsets are committed. After a crash between any two of these, the records are
decided again with the same result from the old state, and consumers drop repeated outputs by their ids. Where
a replay could decide differently, the state is stored first (`Part`).

A turn's work is divided into lanes, one for each input partition. A key's state is in the key's partition, so
the work of two lanes has no order. A lane is a sequence of steps, each a list of records to publish. The n-th
steps of all lanes are published together as a wave, which costs no more than publishing without lanes.

If a wave is not fully acknowledged within a grace period, some partition has no leader, and our producer
waits for one however long it takes. Lanes whose own step is acknowledged continue with the next wave. Each of
the others becomes held (`streams.turns.lanes`): the rest of its steps follows in a task of its own, and
nothing of its partition is decided before they are done, since the next decisions read the states that they
store.
"""

import asyncio
import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

from aiokafka import ConsumerRecord

from domain.errors import TransientError
from streams.headers import ANSWERS
from streams.turns.lanes import HeldLanes
from streams.writing.outputs import Output, RecordPosition
from streams.writing.producer import Producer, Sending

log = logging.getLogger("clusterflow.turn")

V = TypeVar("V")

Ownership = Callable[[int], Mapping[str, str]]
"""The headers of records of the changelog, per partition."""


class Table(Protocol[V]):
    """The table that a turn needs; `tables.typed` implements it on top of Faust."""

    changelog_topic: str

    def get(self, partition: int, key: bytes) -> V | None:
        """The stored value."""

    def encode(self, value: V) -> bytes:
        """The bytes of a value for the changelog and for memory."""

    def ownership(self) -> Ownership:
        """The claims under which the partitions that are ours now are written from now on."""

    def store(self, partition: int, key: bytes, data: bytes | None, *, offset: int) -> None:
        """Put bytes into memory that the changelog holds at this offset; None removes the key."""

    async def settle(self, partitions: Sequence[int]) -> None:
        """Handle records that others have written to these partitions between our own.

        Raises: an error if such a record makes our memory out of date.
        """


class Owned(NamedTuple, Generic[V]):
    """A table, and the claims under which a turn writes it."""

    table: Table[V]
    ownership: Ownership


class Answer(NamedTuple):
    """A command or report whose sender follows the changelog: the state that it led to is its answer.

    Attributes:
        id: What the state names it by (`streams.headers.ANSWERS`).
        result: Makes its result, which is its answer where the state cannot be.
        own_state: Whether its sender is shown the state, so that a later one is no answer.
    """

    id: str
    result: Callable[[], Output]
    own_state: bool = True


MAX_ANSWERS: Final = 64
"""Records that one state answers at most; a turn may hold any number of reports on one entity."""


@dataclass(slots=True)
class Part(Generic[V]):
    """The work of some records: their outputs and the states after them.

    Attributes:
        beforehand: Outputs that must be in their log before the others are published.
        state_first: Whether states are stored before the outputs are published, instead of after.
        answers: By key, what its state answers.
        later: States of the turn's second table, which are stored last.
    """

    state_first: bool = False
    beforehand: list[Output] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    states: dict[bytes, V | None] = field(default_factory=dict)
    answers: dict[bytes, list[Answer]] = field(default_factory=dict)
    later: dict[bytes, Any] = field(default_factory=dict)

    def put(self, key: bytes, value: V | None, answer: Answer | None) -> None:
        """Change a state; what only its last value of this turn can answer gets a result instead."""
        self.states[key] = value
        self.answer_by_results(key)
        if answer is None:
            return
        if self.state_first:
            # An answer comes after everything that was published for it, and here the state does not.
            self.outputs.append(answer.result())
        else:
            self.answers.setdefault(key, []).append(answer)

    def answer_by_results(self, key: bytes) -> None:
        """Answer by results what no later state of this key may answer."""
        if key in self.answers:
            answers = self.answers.pop(key)
            kept = [each for each in answers if not each.own_state][-MAX_ANSWERS + 1 :]
            self.outputs += [each.result() for each in answers if each not in kept]
            if kept:
                self.answers[key] = kept


class Lane(Generic[V]):
    """The work of one input partition in one turn.

    The same partition of all topics of an agent is one lane, because the states of their keys are in one
    partition.

    Attributes:
        states: Every state that the turn has changed in this partition.
        later: The same for the turn's second table.
        step: The outputs to publish next; empty when everything is published.
    """

    __slots__ = ("_steps", "events", "later", "partition", "parts", "states", "step")

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.events: list[Any] = []
        self.states: dict[bytes, V | None] = {}
        self.later: dict[bytes, Any] = {}
        self.parts: list[Part[V]] = [Part()]
        self.step: Sequence[Output] = ()

    def records(self) -> Iterator[ConsumerRecord]:
        """The input, in offset order within each topic."""
        for event in self.events:
            yield from event.value.records

    def begin(self, owned: "Owned[V]", later: "Owned[Any] | None" = None) -> None:
        """Prepare the first step; states will be written into these tables."""
        self._steps = self._all_steps(owned, later)
        self.step = next(self._steps, ())

    def go_on(self, positions: Sequence[RecordPosition]) -> None:
        """Store the states of the step, acknowledged at these positions, and prepare the next one."""
        try:
            self.step = self._steps.send(positions)
        except StopIteration:
            self.step = ()

    def _all_steps(self, owned: "Owned[V]", later: "Owned[Any] | None") -> "_Steps":
        for part in self.parts:
            if part.state_first and part.states:
                yield from self._store(owned, part.states, part.answers)
            if part.beforehand:
                yield part.beforehand
            if part.outputs:
                yield part.outputs
            if not part.state_first and part.states:
                yield from self._store(owned, part.states, part.answers)
            if later is not None and part.later:
                yield from self._store(later, part.later, {})

    def _store(
        self, owned: "Owned[Any]", states: Mapping[bytes, Any], answers: Mapping[bytes, Sequence[Answer]]
    ) -> "_Steps":
        partition, table = self.partition, owned.table
        topic, encode, headers = table.changelog_topic, table.encode, owned.ownership(partition)
        rows = [(key, None if value is None else encode(value)) for key, value in states.items()]
        positions = yield [
            Output(topic, key, data, headers, partition, _answered(answers.get(key, ())))
            for key, data in rows
        ]
        for (key, data), position in zip(rows, positions, strict=True):
            table.store(partition, key, data, offset=position.offset)


def _answered(answers: Sequence[Answer]) -> Sequence[tuple[str, bytes | None]]:
    """The headers of a state that answers these."""
    return [(ANSWERS, each.id.encode()) for each in answers]


_Steps = Generator[Sequence[Output], Sequence[RecordPosition], None]


class Commit(Generic[V]):
    """Takes lanes through their steps.

    Args:
        tables: Those that the lanes store states in.
        committed: Called with each lane when it is done, held or not.
    """

    def __init__(
        self,
        tables: Sequence[Table[Any]],
        producer: Producer,
        held: HeldLanes,
        committed: Callable[[Lane[V]], None] | None,
    ) -> None:
        self._tables = tables
        self._producer = producer
        self._held = held
        self._committed = committed

    async def run(self, lanes: Sequence[Lane[V]]) -> None:
        """Commit these lanes; return when each is done or held."""
        going = self._going(lanes)
        while going:
            going = await self._settled(await self._wave(going))

    async def _wave(self, lanes: Sequence[Lane[V]]) -> Sequence[Lane[V]]:
        """Publish the next step of each lane; return the lanes that are past it, the others are held."""
        sending = await _begun(self._producer, [output for lane in lanes for output in lane.step])
        try:
            positions = await sending.wait_for(self._held.grace)
        except TransientError as error:
            _log_again(sending, error)
            positions = None
        if positions is None:
            return self._split(lanes, sending)
        begin = 0
        for lane in lanes:
            end = begin + len(lane.step)
            lane.go_on(positions[begin:end])
            begin = end
        return lanes

    def _split(self, lanes: Sequence[Lane[V]], sending: Sending) -> list[Lane[V]]:
        positions, acknowledged, begin = sending.acknowledged(), [], 0
        for lane in lanes:
            end = begin + len(lane.step)
            of_lane = [position for position in positions[begin:end] if position is not None]
            if len(of_lane) == len(lane.step):
                lane.go_on(of_lane)
                acknowledged.append(lane)
            else:
                self._held.hold(lane, self._see_through, lane, sending.part(begin, end))
            begin = end
        return acknowledged

    async def _see_through(self, lane: Lane[V], sending: Sending) -> None:
        """Do the remaining steps of a held lane."""
        lane.go_on(await _acknowledged(self._producer, sending))
        while await self._settled([lane]):
            lane.go_on(await published(self._producer, lane.step))

    async def _settled(self, lanes: Sequence[Lane[V]]) -> list[Lane[V]]:
        """Settle the partitions in which these have stored states; return those that have another step."""
        partitions = [lane.partition for lane in lanes]
        for table in self._tables:
            await table.settle(partitions)
        return self._going(lanes)

    def _going(self, lanes: Sequence[Lane[V]]) -> list[Lane[V]]:
        """Finish the lanes that are done; return the others."""
        going = []
        for lane in lanes:
            if lane.step:
                going.append(lane)
                continue
            for event in lane.events:
                event.ack()
            if self._committed is not None:
                self._committed(lane)
            # The result of an answer may hold its record, and so the turn and this lane. Such cycles were
            # found by searches alone, which took a tenth of a worker's time and 30 ms each.
            lane.parts.clear()
        return going


async def published(producer: Producer, outputs: Sequence[Output]) -> Sequence[RecordPosition]:
    """Publish, and try again for as long as that may help; return the positions of all."""
    return await _acknowledged(producer, await _begun(producer, outputs))


async def _begun(producer: Producer, outputs: Sequence[Output]) -> Sending:
    """Hand records to the producer, again and again while it has no connection."""
    while True:
        try:
            return await producer.begin(outputs)
        except TransientError as error:
            topics = sorted({output.topic for output in outputs})
            log.warning("trying again", extra={"topics": topics, "error": str(error)})
            await asyncio.sleep(error.retry_after)


async def _acknowledged(producer: Producer, sending: Sending) -> Sequence[RecordPosition]:
    """Wait until all are acknowledged; publish again only those that fail."""
    outputs, found = sending.outputs, dict[int, RecordPosition]()
    while True:
        left = [number for number in range(len(outputs)) if number not in found]
        wait = 0.0
        try:
            await sending.wait()
        except TransientError as error:
            _log_again(sending, error)
            wait = error.retry_after
        found.update((n, at) for n, at in zip(left, sending.acknowledged(), strict=True) if at is not None)
        if len(found) == len(outputs):
            return [found[number] for number in range(len(outputs))]
        await asyncio.sleep(wait)
        again = [output for number, output in enumerate(outputs) if number not in found]
        sending = await _begun(producer, again)


def _log_again(sending: Sending, error: TransientError) -> None:
    topics = sorted({output.topic for output in sending.outputs})
    log.warning("trying again", extra={"topics": topics, "error": str(error)})
