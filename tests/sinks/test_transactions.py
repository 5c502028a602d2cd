"""Kafka's transactions: what was aborted has never been, and what was committed counts, marker or not."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from prometheus_client import REGISTRY

from domain.cluster.state import ClusterState
from recovery import verify
from streams.json import encode
from streams.reading.replay import Reader
from tests.conftest import until
from tests.recovery.given import hold, settings_of
from tests.sinks.conftest import World
from tests.sinks.given import cluster, event, rows_of, uuid

_numbers = count(1)


class Aborted(Exception):
    """Ends a transaction so that nothing of it counts."""


class Stranger:
    """Another program that writes to our topics, by transactions."""

    def __init__(self, world: World, producer: AIOKafkaProducer):
        self.world, self.producer = world, producer

    async def write(self, *records: ClusterState, committed: bool) -> None:
        state = self.world.topics.state
        await self.send(state, [(r.cluster.id.encode(), encode(r)) for r in records], committed=committed)

    async def send(
        self, topic: str, records: Sequence[tuple[bytes, bytes | None]], *, committed: bool
    ) -> None:
        try:
            async with self.producer.transaction():
                for key, value in records:
                    await self.producer.send_and_wait(topic, value, key=key)
                if not committed:
                    raise Aborted
        except Aborted:
            pass


@asynccontextmanager
async def a_stranger(world: World) -> AsyncIterator[Stranger]:
    name = f"{world.topics.prefix}stranger-{next(_numbers)}"
    servers = world.kafka.bootstrap_servers
    async with AIOKafkaProducer(bootstrap_servers=servers, transactional_id=name) as producer:
        yield Stranger(world, producer)


async def test_aborted_state_leaves_no_row_and_committed_does(world: World):
    await world.publish(kept := cluster("kept"), cluster("changed"))
    async with a_stranger(world) as stranger, world.sink():
        await stranger.write(cluster("never"), cluster("kept", generation=7), committed=False)
        await stranger.send(world.topics.state, [(uuid("kept").encode(), None)], committed=False)
        await stranger.write(changed := cluster("changed", generation=2), committed=True)
        await world.drained()

        assert rows_of([kept, changed]) == await world.tables()


async def test_aborted_events_leave_no_row(world: World):
    def record(word: str) -> tuple[bytes, bytes]:
        return uuid("one").encode(), json.dumps(event(word)).encode()

    async with a_stranger(world) as stranger, world.sink():
        await stranger.send(world.topics.events, [record("aborted")], committed=False)
        await stranger.send(world.topics.events, [record("committed")], committed=True)
        await world.drained()

    ids = [row["id"] for row in await world.fetch("SELECT id FROM cluster_events")]
    assert [event("committed")["id"]] == ids


@pytest.mark.parametrize("committed", [True, False], ids=["a commit", "an abort"])
async def test_a_marker_at_the_end_is_not_waited_for(world: World, committed: bool):
    """The last offset of a partition is no record: stored positions and lag say so, and `verify` compares."""
    records = [cluster(n) for n in range(6)]
    async with a_stranger(world) as stranger, world.sink():
        for each in records:
            await world.publish(each)
            await hold(world, each.cluster.name, each.cluster.id)
            await stranger.write(each, committed=committed)
        await world.drained()

        async def no_lag() -> bool:
            return REGISTRY.get_sample_value("clusterflow_sink_lag_records") == 0

        await until(no_lag, what="a lag of nothing")
        assert (await verify(settings_of(world, wait=20))).equal

    assert rows_of(records) == await world.tables()


async def test_markers_of_a_quiet_partition_are_passed_while_another_is_busy(world: World):
    """Records of one partition must not keep the position of another from moving."""
    busy = TopicPartition(world.topics.state, 0)
    producer = world._producer
    async with a_stranger(world) as stranger, world.sink(batch_records=1):
        await stranger.write(*(cluster(n) for n in range(30)), committed=False)
        sent = count()

        async def quiet_ones_are_passed() -> bool:
            key = uuid(f"busy {next(sent)}").encode()
            await producer.send_and_wait(busy.topic, None, key=key, partition=busy.partition)
            positions = await world.positions()
            ends = await world._tail.end_offsets([TopicPartition(busy.topic, number) for number in (1, 2)])
            return all(positions.get((tp.topic, tp.partition), 0) == end for tp, end in ends.items())

        await until(quiet_ones_are_passed, what="positions past the markers")


async def test_verify_reads_no_aborted_record(world: World):
    """Neither what it expects in the tables nor who it takes for the holder of a name."""
    await world.publish(cluster("one"))
    await hold(world, "c-one", uuid("one"))
    async with a_stranger(world) as stranger:
        await stranger.write(cluster("one", generation=9), cluster("two"), committed=False)
        await stranger.send(world.topics.names, [(b"owner@example.com/c-one", None)], committed=False)
        await stranger.send(
            world.topics.events, [(uuid("one").encode(), json.dumps(event(1)).encode())], committed=False
        )
        await world.drain()

        assert (await verify(settings_of(world))).equal


async def test_a_reader_ends_behind_the_last_marker(world: World):
    """By position: neither of these topics ends with a record that anybody is shown."""
    async with a_stranger(world) as stranger, Reader(world.kafka) as reader:
        await stranger.write(cluster("one"), committed=True)
        await stranger.write(cluster("two"), committed=False)
        ends = await reader.ends(world.topics.state)
        shown = [
            record.key async for records in reader.batches(world.topics.state, to=ends) for record in records
        ]
    assert [uuid("one").encode()] == shown
    assert sum(ends.values()) >= 3  # a record, its marker, and the aborted one at least


async def test_a_partition_of_markers_alone_is_passed(world: World):
    async with a_stranger(world) as stranger:
        await stranger.write(*(cluster(n) for n in range(10)), committed=False)

    await world.drain()

    assert rows_of([]) == await world.tables()
    assert (await verify(settings_of(world))).equal
