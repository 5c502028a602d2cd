"""The batch transport on real Kafka: every record reaches an agent, in order, and is committed."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from faust.types import TP

from streams.settings import KafkaSettings
from streams.turns.app import add_agent, create_app
from streams.turns.batch import queued_batches
from streams.turns.thread import BatchConsumerThread
from streams.turns.transport import BatchConsumer, LeaseLost
from streams.writing.producer import Producer
from tables.typed import TypedTable
from tests.conftest import until
from tests.streams.commits import until_committed

Seen = dict[int, list[int]]


@asynccontextmanager
async def worker(kafka: KafkaSettings, seen: Seen, *, turn_seconds: float = 0.0) -> AsyncIterator[Any]:
    """An app with a table and one agent, which notes the offsets it is given."""
    app = create_app(kafka)
    TypedTable(
        app,
        "rows",
        changelog_topic=kafka.topics.state,
        partitions=kafka.partitions,
        decode=bytes,
        encode=bytes,
    )

    async def note(stream: Any) -> None:
        async for events in queued_batches(stream):
            await asyncio.sleep(turn_seconds)
            for event in events:
                for record in event.value.records:
                    seen[record.partition].append(record.offset)
                event.ack()

    add_agent(app, "notes", (kafka.topics.commands,), note)
    app.finalize()
    await app.start()
    try:
        yield app
    finally:
        await app.stop()
        await app.publisher.stop()


async def publish(kafka: KafkaSettings, count: int, **settings: Any) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, **settings) as producer:
        sent = [
            await producer.send(kafka.topics.commands, b"%d" % n, partition=n % kafka.partitions)
            for n in range(count)
        ]
        await asyncio.gather(*sent)


def distinct(seen: Seen) -> int:
    return sum(len(set(offsets)) for offsets in seen.values())


async def test_forty_thousand_records_through_a_slow_agent_are_forty_thousand(kafka):
    seen: Seen = defaultdict(list)
    await publish(kafka, 40_000)
    async with worker(kafka, seen, turn_seconds=0.2):
        await until_committed(kafka)
    assert 40_000 == sum(map(len, seen.values()))
    assert all(offsets == sorted(offsets) for offsets in seen.values())


async def test_partitions_that_go_and_come_back_are_committed_on(kafka):
    first: Seen = defaultdict(list)
    second: Seen = defaultdict(list)
    async with worker(kafka, first):
        await publish(kafka, 400)
        await until_committed(kafka)
        async with worker(kafka, second):
            await publish(kafka, 400)

            async def second_works() -> bool:
                await publish(kafka, 40)
                return distinct(second) > 0

            await until(second_works, within=40, what="a share for the second worker")
            await until_committed(kafka)
        before = distinct(first)
        await publish(kafka, 400)
        await until_committed(kafka)
        assert distinct(first) >= before + 400


async def test_every_record_of_a_rebalance_under_load_reaches_an_agent(kafka):
    first: Seen = defaultdict(list)
    second: Seen = defaultdict(list)

    async def load() -> None:
        for _ in range(60):
            await publish(kafka, 40)

    async with worker(kafka, first, turn_seconds=0.01):
        loading = asyncio.create_task(load())
        async with worker(kafka, second, turn_seconds=0.01):
            await loading
            await until_committed(kafka)
    for partition in range(kafka.partitions):
        assert set(range(600)) == set(first[partition]) | set(second[partition])


async def test_what_comes_between_the_seek_and_the_flow_reaches_an_agent(kafka, monkeypatch):
    """Faust empties the agents' queues a little after it has sought; here that takes half a second."""
    seen: Seen = defaultdict(list)
    seek = BatchConsumer.perform_seek

    async def slow_seek(consumer: BatchConsumer) -> None:
        await seek(consumer)
        await asyncio.sleep(0.5)

    monkeypatch.setattr(BatchConsumer, "perform_seek", slow_seek)
    await publish(kafka, 20_000)
    async with worker(kafka, seen, turn_seconds=1.0):
        await until_committed(kafka)
    assert 20_000 == distinct(seen)


@pytest.mark.parametrize("overtaken_at", ["its beginning", "its end"])
async def test_a_seek_that_a_rebalance_overtakes_positions_nothing(kafka, monkeypatch, overtaken_at):
    """The next rebalance's own seek takes half a second, as above."""
    seen: Seen = defaultdict(list)
    begun, overtaken, early = asyncio.Event(), asyncio.Event(), list[TP]()
    seek, stop_flow, hand_on = BatchConsumer.perform_seek, BatchConsumer.stop_flow, BatchConsumer._hand_on
    resume_inputs = BatchConsumerThread.resume_inputs

    # given a worker whose next seek waits for another rebalance
    async with worker(kafka, seen) as app:
        seeking = asyncio.Event()
        await publish(kafka, kafka.partitions)
        await until_committed(kafka)

        async def wait(place: str) -> None:
            if place == overtaken_at and not begun.is_set():
                begun.set()
                await overtaken.wait()

        async def slow_seek(consumer: BatchConsumer) -> None:
            if consumer is not app.consumer:
                await seek(consumer)
                return
            seeking.set()
            await wait("its beginning")
            await seek(consumer)
            await asyncio.sleep(0.5)
            seeking.clear()

        async def slow_resume(thread: BatchConsumerThread, *what: Any) -> Any:
            resumed = await resume_inputs(thread, *what)
            if thread is app.consumer._thread:
                await wait("its end")
            return resumed

        def noted_stop(consumer: BatchConsumer) -> None:
            stop_flow(consumer)
            if consumer is app.consumer and begun.is_set():
                overtaken.set()

        async def noted_hand_on(consumer: BatchConsumer, tp: TP, polled: Any) -> Any:
            if consumer is app.consumer and seeking.is_set() and tp.topic == kafka.topics.commands:
                early.append(tp)
            return await hand_on(consumer, tp, polled)

        monkeypatch.setattr(BatchConsumer, "_hand_on", noted_hand_on)
        monkeypatch.setattr(BatchConsumer, "perform_seek", slow_seek)
        monkeypatch.setattr(BatchConsumer, "stop_flow", noted_stop)
        monkeypatch.setattr(BatchConsumerThread, "resume_inputs", slow_resume)

        # when a second worker comes, a third one before the first has its share of the second's, and records
        async with worker(kafka, seen):
            await asyncio.wait_for(begun.wait(), timeout=40)
            await publish(kafka, 20_000)
            async with worker(kafka, seen):
                await asyncio.wait_for(overtaken.wait(), timeout=40)

                # then none of them is handed on before a seek is over, and all of them are in the end
                await until_committed(kafka)
    assert [] == early
    assert 20_000 + kafka.partitions == distinct(seen)


async def test_a_worker_that_cannot_claim_what_it_is_given_does_not_stay(kafka, monkeypatch):
    """Until it has taken its partitions over no heartbeat is sent: the group goes on without it."""
    seen: Seen = defaultdict(list)

    async def never(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Producer, "publish", never)
    async with worker(kafka, seen) as app:
        await asyncio.wait_for(app.until_crashed(), timeout=40)
        assert isinstance(app.crash_reason, LeaseLost)


async def test_a_worker_that_is_stopped_in_a_rebalance_leaves_the_group(kafka, monkeypatch):
    """Its thread is asked for the ends of its partitions meanwhile, and answers no more."""
    seen: Seen = defaultdict(list)
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    highwaters = BatchConsumerThread._highwaters

    async def unanswered(thread: BatchConsumerThread, partitions: list[TP]) -> Any:
        if thread is not first.consumer._thread:
            return await highwaters(thread, partitions)
        loop.call_soon_threadsafe(asked.set)
        return await asyncio.Event().wait()

    # given a worker
    async with AsyncExitStack() as works:
        first = await works.enter_async_context(worker(kafka, seen))
        await publish(kafka, kafka.partitions)
        await until_committed(kafka)
        monkeypatch.setattr(BatchConsumerThread, "_highwaters", unanswered)

        # when it is stopped before it has its share of what it shares with another one
        async with worker(kafka, seen):
            await asyncio.wait_for(asked.wait(), timeout=40)
            await works.aclose()

            # then it ends in good order, and the other one works on
            assert first.consumer._thread._shutdown.is_set()
            await publish(kafka, 400)
            await until_committed(kafka)
    assert kafka.partitions + 400 == distinct(seen)


async def test_markers_of_foreign_transactions_are_holes_that_stop_nobody(kafka):
    seen: Seen = defaultdict(list)
    async with worker(kafka, seen):
        async with AIOKafkaProducer(
            bootstrap_servers=kafka.bootstrap_servers, transactional_id=kafka.topics.prefix
        ) as producer:
            for number in range(30):
                async with producer.transaction():
                    await producer.send_and_wait(kafka.topics.commands, b"%d" % number, partition=0)
        await publish(kafka, 4)  # a marker at the very end has no record behind it to commit past

        async def all_seen() -> bool:
            return len(set(seen[0])) == 31

        await until(all_seen, what="every record")
        await until_committed(kafka)
    assert seen[0] == sorted(seen[0])


@pytest.mark.parametrize("value", [None, b""], ids=["without a value", "with an empty value"])
async def test_a_record_without_content_is_passed(kafka, value):
    seen: Seen = defaultdict(list)
    async with worker(kafka, seen):
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
            await producer.send_and_wait(kafka.topics.commands, value, key=b"k", partition=1)
        await publish(kafka, 4)
        await until_committed(kafka)
    assert {0, 1} == set(seen[1])


async def test_records_that_a_forgotten_poll_has_taken_are_read_again(kafka: KafkaSettings):
    """A rebalance restarts the loop that polls; its last poll goes on, and nobody sees what that brings."""
    # given a worker at the end of its input
    seen: Seen = defaultdict(list)
    async with worker(kafka, seen) as app:
        await publish(kafka, kafka.partitions)
        await until(lambda: all_seen(seen, kafka.partitions), what="the first records")
        inputs = {tp for tp in app.consumer.assignment() if tp.topic == kafka.topics.commands}
        count, taken = kafka.partitions, {}

        # when another poll takes the last records there are
        while not taken:
            forgotten = asyncio.create_task(app.consumer._thread.getmany(inputs, 5.0))
            await publish(kafka, kafka.partitions)
            count += kafka.partitions
            taken = await forgotten

        # then the worker reads them again
        await until(lambda: all_seen(seen, count), what="all records")


async def all_seen(seen: Seen, count: int) -> bool:
    return count == sum(len({*offsets}) for offsets in seen.values())
