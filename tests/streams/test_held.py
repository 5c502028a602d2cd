"""A worker on real Kafka of which one partition's leader cannot be reached."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaProducer

from streams.settings import KafkaSettings
from streams.turns.app import BatchApp, add_agent, create_app
from streams.turns.turn import take_turns
from streams.writing.outputs import Output
from tables.typed import TypedTable
from tests.conftest import until
from tests.streams.commits import until_committed

SILENT = 1


class Worker:
    """An app whose agent counts the records of each partition in its state, and tells of each."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.kafka = kafka
        self.app: BatchApp = create_app(kafka)
        self.committed: dict[int, int] = defaultdict(int)  # by partition, what was told last
        self.table = TypedTable[int](
            self.app,
            "rows",
            changelog_topic=kafka.topics.state,
            partitions=kafka.partitions,
            decode=int,
            encode=lambda count: b"%d" % count,
        )
        add_agent(self.app, "counts", (kafka.topics.commands,), self._run)
        self.app.finalize()

    async def _run(self, stream: Any) -> None:
        async for turn in take_turns("counts", stream, self.table, self.app.publisher):
            for record in turn.records():
                count = (turn.get(record.partition, b"k") or 0) + 1
                turn.put(record.partition, b"k", count)
                told = Output(self.kafka.topics.events, b"k", b"%d" % count, partition=record.partition)
                turn.publish(told)
            await turn.commit(self._committed)

    def _committed(self, lane: Any) -> None:
        self.committed[lane.partition] = lane.states[b"k"]

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Worker"]:
        await self.app.start()
        try:
            yield self
        finally:
            await self.app.stop()
            await self.app.publisher.stop()

    def held(self) -> bool:
        return self.app.held_partitions() == {"counts": [SILENT]}


@asynccontextmanager
async def silence(worker: Worker, monkeypatch: Any) -> AsyncIterator[None]:
    """Nobody leads one partition of what a worker publishes."""
    cluster = worker.app.publisher._inner.client.cluster
    leader, topics = cluster.leader_for_partition, worker.kafka.topics
    with monkeypatch.context() as patch:
        gone = (topics.events, SILENT)
        patch.setattr(cluster, "leader_for_partition", lambda tp: None if tp == gone else leader(tp))
        yield


async def publish(kafka: KafkaSettings, *partitions: int) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
        for partition in partitions:
            await producer.send_and_wait(kafka.topics.commands, b"{}", key=b"k", partition=partition)


async def told(worker: Worker, partition: int, count: int) -> None:
    async def done() -> bool:
        return worker.committed[partition] == count

    await until(done, what=f"{count} records of partition {partition}")


async def is_held(worker: Worker, *, held: bool = True) -> None:
    async def done() -> bool:
        return worker.held() is held

    await until(done, what="a held partition" if held else "one that goes on")


async def test_the_other_partitions_are_worked_on_and_the_one_catches_up(kafka, monkeypatch):
    # given a worker at work on all partitions
    async with Worker(kafka).running() as worker:
        await publish(kafka, *range(kafka.partitions))
        for partition in range(kafka.partitions):
            await told(worker, partition, 1)

        # when one of them has no leader any more
        async with silence(worker, monkeypatch):
            await publish(kafka, SILENT, 0)
            await told(worker, 0, 2)
            await is_held(worker)
            for count in range(3, 6):
                await publish(kafka, *[SILENT] * 10, 0)
                await told(worker, 0, count)

            # then nothing of it is committed, no more of it is fetched, and the worker is at work
            assert 1 == worker.committed[SILENT]
            positions = worker.app.consumer._read_offset
            (tp,) = [tp for tp in positions if tp.topic == kafka.topics.commands and tp.partition == SILENT]
            assert positions[tp] <= 3
            assert worker.app.at_work

        # and all of it is, once it has a leader
        await told(worker, SILENT, 32)
        await is_held(worker, held=False)
        await until_committed(kafka)


async def test_a_rebalance_does_not_wait_for_it_and_it_is_decided_again(kafka, monkeypatch):
    # given a worker of which a partition is held
    async with Worker(kafka).running() as first:
        await publish(kafka, *range(kafka.partitions))
        for partition in range(kafka.partitions):
            await told(first, partition, 1)
        generation = first.app.consumer_generation_id
        async with silence(first, monkeypatch):
            await publish(kafka, SILENT)
            await is_held(first)

            # when another joins
            async with Worker(kafka).running() as second:

                async def both_at_work() -> bool:
                    rebalanced = first.app.consumer_generation_id != generation
                    return rebalanced and first.app.at_work and second.app.at_work

                await until(both_at_work, what="two workers at work")
                assert not first.app._crashed.is_set()

                # then whoever has the partition decides it, from what was stored
                owner = second if owns(second) else first
                if owner is second:
                    await told(second, SILENT, 2)
                    assert 1 == first.committed[SILENT]
                else:
                    await is_held(first)
        await told(first if owner is first else second, SILENT, 2)
        assert not first.app._crashed.is_set()


def owns(worker: Worker) -> bool:
    return any(tp.partition == SILENT for tp in worker.app.consumer.assignment())


async def test_a_worker_stops_though_a_partition_is_held(kafka, monkeypatch):
    worker = Worker(kafka)
    await worker.app.start()
    await publish(kafka, SILENT)
    await told(worker, SILENT, 1)
    async with silence(worker, monkeypatch):
        await publish(kafka, SILENT)
        await is_held(worker)
        await asyncio.wait_for(worker.app.stop(), 15)
        assert {} == worker.app.held_partitions()
    await worker.app.publisher.stop()
    assert 1 == worker.committed[SILENT]
