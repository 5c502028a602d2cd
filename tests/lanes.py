"""Stand-ins for what turns work on: an app, and a producer whose partitions acknowledge when told to."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from domain.errors import TransientError
from streams.turns.commit import Ownership
from streams.turns.lanes import HeldLanes
from streams.writing.outputs import Output, RecordPosition


class Record:
    """One that the producer has taken over."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.position: RecordPosition | None = None
        self.error: TransientError | None = None


class Sent:
    """As much of a `Sending` as a commit takes. To those who wait for a while only, time is over at once."""

    def __init__(self, records: Sequence[Record], changed: asyncio.Condition | None = None) -> None:
        self._records, self._changed = records, changed
        self.outputs = [record.output for record in records]

    async def wait_for(self, seconds: float) -> list[RecordPosition] | None:
        return None if self._waits else await self.wait()

    @property
    def _waits(self) -> bool:
        return any(record.position is None and record.error is None for record in self._records)

    async def wait(self) -> list[RecordPosition]:
        while self._waits:
            assert self._changed is not None
            async with self._changed:
                await self._changed.wait()
        for record in self._records:
            if record.error is not None:
                raise record.error
        return [record.position for record in self._records if record.position is not None]

    def acknowledged(self) -> list[RecordPosition | None]:
        return [record.position for record in self._records]

    def part(self, begin: int, end: int) -> "Sent":
        return Sent(self._records[begin:end], self._changed)


class SilentProducer:
    """Publishes into logs; partitions in `silent` acknowledge nothing until `recover` or `fail`."""

    def __init__(self, *silent: int) -> None:
        self.silent = set(silent)
        self.published: list[list[Output]] = []  # call by call
        self.logs: defaultdict[tuple[str, int], list[Output]] = defaultdict(list)
        self._waiting: list[Record] = []
        self._changed = asyncio.Condition()

    async def begin(self, outputs: Sequence[Output]) -> Sent:
        self.published.append([*outputs])
        records = [Record(output) for output in outputs]
        for record in records:
            if record.output.partition in self.silent:
                self._waiting.append(record)
            else:
                self._acknowledge(record)
        return Sent(records, self._changed)

    async def recover(self, partition: int) -> None:
        """What waits for a partition is acknowledged, and what comes."""
        self.silent.discard(partition)
        for record in self._taken(partition):
            self._acknowledge(record)
        await self._tell()

    async def fail(self, partition: int, error: TransientError) -> None:
        """What waits for a partition has failed; it stays silent."""
        for record in self._taken(partition):
            record.error = error
        await self._tell()

    def _taken(self, partition: int) -> list[Record]:
        taken = [record for record in self._waiting if record.output.partition == partition]
        self._waiting = [record for record in self._waiting if record not in taken]
        return taken

    def _acknowledge(self, record: Record) -> None:
        partition = record.output.partition or 0
        log = self.logs[record.output.topic, partition]
        record.position = RecordPosition(partition, len(log))
        log.append(record.output)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class App:
    """As much of a `BatchApp`, and of its consumer, as lanes take."""

    def __init__(self) -> None:
        self.consumer = self
        self.consumer_generation_id = 1
        self.flow_control = SimpleNamespace(is_active=lambda: True)
        self.logs: dict[tuple[str, int], str] = {}
        self.committed: dict[tuple[str, int], int] = {}
        self.lanes: dict[str, HeldLanes] = {}
        self.emptying = False
        self.paused: set[TP] = set()
        self.forgotten: list[Any] = []
        self.crashed_by: Exception | None = None

    def add(self, agent: str, *topics: str) -> HeldLanes:
        """The lanes of a new agent."""
        self.lanes[agent] = HeldLanes(self, agent, topics)
        return self.lanes[agent]

    def track_message(self, message: Any) -> None:
        """Nobody asks here which are not acknowledged."""

    def hold(self, tps: set[TP]) -> None:
        self.paused |= tps

    def release(self, tps: set[TP]) -> None:
        self.paused -= tps

    def forget(self, messages: Sequence[Any]) -> None:
        self.forgotten += messages

    async def crash(self, error: Exception) -> None:
        self.crashed_by = error


class Table:
    """A table that notes what is stored, within the steps of what uses it."""

    changelog_topic = "state"
    claim = "7"

    def __init__(self, steps: list[Any]) -> None:
        self.rows: dict[tuple[int, bytes], Any] = {}
        self.steps = steps

    def get(self, partition: int, key: bytes) -> Any:
        return self.rows.get((partition, key))

    def encode(self, value: Any) -> Any:
        return value

    def ownership(self) -> Ownership:
        claim = self.claim
        return lambda partition: {"claim": claim}

    async def settle(self, partitions: Sequence[int]) -> None:
        """Nobody else writes."""

    def store(self, partition: int, key: bytes, data: Any, *, offset: int) -> None:
        self.rows[partition, key] = data
        self.steps.append(("stored", partition, data))
