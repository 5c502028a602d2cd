"""A Kafka in memory, and workers that live on it: the agents are the real ones, what they stand on is small.

A crash strikes after any number of published records: memory is lost, what is in the log stays, and input is
delivered again from the last committed offset.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from aiokafka import ConsumerRecord
from faust.types import TP

from agents.clusters import ClusterAgent
from agents.entity import KindAgent, Reaction
from domain.policy import Policy
from streams.cluster.codec import decode_name, decode_record
from streams.flow import Flow
from streams.json import encode
from streams.kafka.partitions import partition_of
from streams.settings import KafkaSettings
from streams.topics import Topics
from streams.turns.batch import Batch
from streams.writing.outputs import Output, RecordPosition, wire_headers
from tests.lanes import App, Record, Sent

START = datetime(2030, 1, 1, tzinfo=UTC)
POLICY = Policy(reconcile_cap=2, delete_retention=timedelta(hours=1))
KAFKA = KafkaSettings(bootstrap_servers="nowhere", topics=Topics(), partitions=2, replication=1)
TOPICS = KAFKA.topics


class CrashedError(BaseException):
    """The process is gone; nothing may catch it."""


@dataclass
class Log:
    """Topics of records, as a broker keeps them; `number` is the order of all records together."""

    records: dict[TP, list[ConsumerRecord]] = field(default_factory=lambda: defaultdict(list))
    now: datetime = START
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def append(self, output: Output) -> int:
        place = output.partition
        if place is None:
            place = partition_of(output.key or b"", KAFKA.partitions)
        log = self.records[TP(output.topic, place)]
        log.append(
            SimpleNamespace(  # type: ignore[arg-type]
                topic=output.topic,
                partition=place,
                offset=len(log),
                key=output.key,
                value=output.value,
                headers=wire_headers(output),
                timestamp=int(self.now.timestamp() * 1000),
                number=next(self._numbers),
            )
        )
        return len(log) - 1

    def since(self, positions: dict[TP, int], topic: str) -> list[ConsumerRecord]:
        """The records of a topic beyond these positions, each partition in its order; moves the positions."""
        found: list[ConsumerRecord] = []
        for partition in range(KAFKA.partitions):
            tp = TP(topic, partition)
            found += self.records[tp][positions.get(tp, 0) :]
            positions[tp] = len(self.records[tp])
        return found


@dataclass
class MemoryProducer:
    """Publishes into the log; crashes after `lives` records."""

    log: Log
    lives: int | None = None

    async def begin(self, outputs: list[Output]) -> Sent:
        records = [Record(output) for output in outputs]
        for record in records:
            if self.lives is not None:
                if self.lives == 0:
                    raise CrashedError
                self.lives -= 1
            record.position = RecordPosition(record.output.partition or 0, self.log.append(record.output))
        return Sent(records)


class MemoryTable:
    """A table as agents see it, filled from its changelog."""

    def __init__(self, log: Log, changelog_topic: str, decode: Any) -> None:
        self.changelog_topic, self.decode, self.encode = changelog_topic, decode, encode
        self._rows: dict[int, dict[bytes, bytes]] = defaultdict(dict)
        self._callbacks: list[Any] = []
        for partition in range(KAFKA.partitions):
            for record in log.records[TP(changelog_topic, partition)]:
                self.store(partition, record.key, record.value, offset=record.offset)

    def get(self, partition: int, key: bytes) -> Any:
        data = self._rows[partition].get(key)
        return None if data is None else self.decode(data)

    def holds(self, partition: int, key: bytes) -> bool:
        return key in self._rows[partition]

    async def settle(self, partitions: Sequence[int]) -> None:
        """Nobody else writes."""

    def store(self, partition: int, key: bytes, data: bytes | None, *, offset: int) -> None:
        if data is None:
            self._rows[partition].pop(key, None)
        else:
            self._rows[partition][key] = data

    def ownership(self) -> Any:
        return lambda partition: {}

    def rows(self, partition: int) -> dict[bytes, bytes]:
        return self._rows[partition]

    def take_recovered(self) -> set[int]:
        return set(range(KAFKA.partitions))

    def on_recovered(self, callback: Any) -> None:
        self._callbacks.append(callback)

    def recovered(self) -> None:
        for callback in self._callbacks:
            callback()

    def values(self) -> list[Any]:
        return [self.decode(data) for rows in self._rows.values() for data in rows.values()]


class Process:
    """One life of a worker process: tables recovered from the log, positions from what was committed.

    Args:
        commits: Whether what is acknowledged is committed before the next turn.
    """

    def __init__(self, log: Log, committed: dict[TP, int], *, commits: bool = True) -> None:
        self.log, self.positions = log, dict(committed)
        self.committed, self._commits = dict(committed), commits
        self.producer = MemoryProducer(log)
        self._agents: dict[str, tuple[Any, tuple[str, ...]]] = {}

    def take_turn(self, agent: str, *, at_most: int) -> int:
        """Let an agent handle at most `at_most` records of each partition, and return how many there were."""
        runner, topics = self._agents[agent]
        if self._commits:
            self.committed = dict(self.positions)
        queue: asyncio.Queue[Any] = asyncio.Queue()
        count = 0
        for topic in topics:
            for partition in range(KAFKA.partitions):
                tp = TP(topic, partition)
                start = self.positions.get(tp, 0)
                if records := self.log.records[tp][start : start + at_most]:
                    count += len(records)
                    queue.put_nowait(self._event(Batch(tp, records), tp))
        _run(runner.run(_stream(queue, self._agents, topics, self.committed)))
        return count

    def _event(self, batch: Batch, tp: TP) -> Any:
        def ack() -> None:
            self.positions[tp] = batch.next_offset

        return SimpleNamespace(value=batch, message=SimpleNamespace(generation_id=1), ack=ack)


class Worker(Process):
    """A worker of clusters and their names."""

    def __init__(
        self, log: Log, committed: dict[TP, int], policy: Policy = POLICY, *, commits: bool = True
    ) -> None:
        super().__init__(log, committed, commits=commits)
        self.names = MemoryTable(log, TOPICS.names, decode_name)
        self.clusters = MemoryTable(log, TOPICS.state, decode_record)
        parts: dict[str, Any] = {"kafka": KAFKA, "producer": self.producer, "policy": policy}
        clusters = ClusterAgent(clusters=self.clusters, names=self.names, **parts)
        of_names = (TOPICS.create_requests, TOPICS.name_requests)
        # One agent; turns over a part of its topics are turns in which the others had no records.
        self._agents = {
            "clusters": (clusters, (*clusters.inputs,)),
            "names alone": (clusters, of_names),
            "clusters alone": (clusters, tuple(topic for topic in clusters.inputs if topic not in of_names)),
        }
        self.names.recovered()
        self.clusters.recovered()
        self.clock = clusters.clock
        self.index()

    def index(self) -> None:
        """Let the clock look at all that was recovered."""
        while not self.clock.indexed:
            self.clock.index_recovered()


class KindWorker(Process):
    """A worker of one simple kind.

    Args:
        indexed: Whether its timers know all that was recovered before its first turn.
    """

    def __init__(
        self,
        flow: Flow[Any, Any, Any],
        log: Log,
        committed: dict[TP, int],
        *,
        commits: bool = True,
        indexed: bool = True,
    ) -> None:
        super().__init__(log, committed, commits=commits)
        self.table = MemoryTable(log, flow.state, flow.decode)
        self.agent = KindAgent(flow, table=self.table, producer=self.producer, partitions=KAFKA.partitions)
        self._agents = {flow.kind.name: (self.agent, (flow.commands,))}
        self.table.recovered()
        while indexed and not self.agent.wakes.indexed:
            self.agent.wakes.index_recovered()


class FleetWorker(Process):
    """A worker of several simple kinds, which send each other commands.

    Args:
        reactions: By kind, what its events lead to.
    """

    def __init__(
        self,
        flows: Sequence[Flow[Any, Any, Any]],
        reactions: Mapping[str, Sequence[Reaction]],
        log: Log,
        committed: dict[TP, int],
    ) -> None:
        super().__init__(log, committed, commits=False)
        self.tables = {flow.kind.name: MemoryTable(log, flow.state, flow.decode) for flow in flows}
        for flow in flows:
            name = flow.kind.name
            agent = KindAgent(
                flow,
                table=self.tables[name],
                producer=self.producer,
                partitions=KAFKA.partitions,
                reactions=reactions.get(name, ()),
            )
            self._agents[name] = (agent, (flow.commands,))
            self.tables[name].recovered()
            while not agent.wakes.indexed:
                agent.wakes.index_recovered()


def _run(coroutine: Any) -> None:
    """Nothing here ever waits, so no loop is needed."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("the agent waits for something")


def _stream(
    queue: asyncio.Queue[Any], agents: Iterable[str], topics: Sequence[str], committed: dict[TP, int]
) -> Any:
    """What Faust hands an agent, ending when the queue is empty."""

    async def get() -> Any:
        if queue.empty():
            raise StopAsyncIteration
        return queue.get_nowait()

    async def started() -> None:
        return None

    app = App()
    app.logs = {(topic, partition): topic for topic in topics for partition in range(KAFKA.partitions)}
    app.committed = {(tp.topic, tp.partition): offset for tp, offset in committed.items()}
    for agent in agents:
        app.add(agent)
    channel = SimpleNamespace(queue=queue, get=get)
    return SimpleNamespace(app=app, channel=channel, maybe_start=started, should_stop=False)
