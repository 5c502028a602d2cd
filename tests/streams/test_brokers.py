"""A client among three brokers of which one falls silent, and how the first of several answers is taken."""

import asyncio
import time

import pytest
from aiokafka import TopicPartition
from aiokafka.conn import CloseReason
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError
from aiokafka.structs import BrokerMetadata

from deploy.embedded.kafka import Kafka
from deploy.embedded.ports import free_port
from streams.kafka.brokers import first_answer
from streams.reading.tail import Tail
from streams.writing.outputs import Output
from streams.writing.producer import Producer
from tests.conftest import Brokers, until

WITHIN = 20.0  # seconds for every partition to be written again: twice what it may take, on a busy machine

# --- the first answer ---------------------------------------------------------------------------------


async def test_one_that_answers_is_the_only_one_asked():
    asked = []

    async def ask(name):
        asked.append(name)
        return name

    assert "a" == await first_answer(["a", "b"], ask)
    assert ["a"] == asked


async def test_the_next_is_asked_at_once_where_one_fails():
    async def ask(name):
        if name != "c":
            raise KafkaConnectionError(name)
        return name

    started = time.monotonic()
    assert "c" == await first_answer(["a", "b", "c"], ask)
    assert time.monotonic() - started < 0.2


async def test_one_that_is_silent_is_waited_for_while_the_next_is_asked():
    late, ended = asyncio.Event(), []

    async def ask(name):
        try:
            if name == "silent":
                await late.wait()
            return name
        finally:
            ended.append(name)

    # the next answers first, and nobody waits for the other any more
    assert "b" == await first_answer(["silent", "b"], ask)
    await asyncio.sleep(0)
    assert {"silent", "b"} == {*ended}

    # one that is alone is waited for
    asking = asyncio.create_task(first_answer(["silent"], ask))
    late.set()
    assert "silent" == await asking


@pytest.mark.parametrize("asked", [["a", "b"], []])
async def test_the_failure_of_the_last_counts_where_all_fail(asked):
    async def ask(name):
        raise NodeNotReadyError(name)

    with pytest.raises(NodeNotReadyError if asked else KafkaConnectionError):
        await first_answer(asked, ask)


async def test_a_fault_of_ours_is_none_of_a_broker():
    async def ask(name):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await first_answer(["a", "b"], ask)


# --- three brokers ------------------------------------------------------------------------------------


async def test_a_client_goes_on_without_a_silent_broker(brokers: Brokers):
    # given a producer and a tail at work, on partitions that each of three brokers leads
    kafka = await brokers.new_topics(partitions=6)
    topic = kafka.topics.events
    seen: list[bytes] = []
    producer = Producer(kafka, client_id="test")
    tail = Tail(kafka, client_id="test", from_end={topic: lambda record: seen.append(record.value)})
    await tail.start()
    following = asyncio.create_task(tail.run())
    outputs = [Output(topic, b"k", b"%d" % number, partition=number) for number in range(6)]
    await producer.publish(outputs)
    leader = producer._inner.client.cluster.leader_for_partition(TopicPartition(topic, 0))

    async def silent():
        return tail.unreachable()

    async def shown():
        return len(seen) == 12

    try:
        # when one falls silent while there is nothing under way
        brokers.node(leader).pause()

        # then the tail says which partitions can't be followed, until others lead them
        assert {(topic, 0)} <= await until(silent)

        # and every partition is written, once, and followed
        async with asyncio.timeout(WITHIN):
            await producer.publish(outputs)
            await tail.probe()
        await until(shown, within=WITHIN)
        assert sorted(seen) == sorted(2 * [output.value for output in outputs])
        assert frozenset() == tail.unreachable()
    finally:
        following.cancel()
        await tail.stop()
        await producer.stop()


@pytest.mark.parametrize("fails", [Kafka.pause, Kafka.kill])
async def test_clients_start_while_a_broker_is_away(brokers: Brokers, fails):
    kafka = await brokers.new_topics()
    fails(brokers.node(1))
    for _ in range(3):  # they may try another broker first
        producer = Producer(kafka, client_id="test")
        try:
            async with asyncio.timeout(WITHIN):
                await producer.publish(
                    [Output(kafka.topics.events, b"k", b"v", partition=p) for p in range(4)]
                )
        finally:
            await producer.stop()


async def test_brokers_are_found_again_that_were_away_when_it_was_asked(brokers: Brokers):
    # given a client that knows of one broker alone, which has gone since
    kafka = await brokers.new_topics()
    outputs = [Output(kafka.topics.events, b"k", b"v", partition=number) for number in range(4)]
    producer = Producer(kafka, client_id="test")
    await producer.publish(outputs)
    client = producer._inner.client
    client.cluster._brokers = {9: BrokerMetadata(9, "127.0.0.1", free_port(), None)}
    for connection in [*client._conns.values()]:
        connection.close(reason=CloseReason.CONNECTION_BROKEN)

    # when it publishes, then it has asked at the addresses that it was given
    try:
        async with asyncio.timeout(WITHIN):
            await producer.publish(outputs)
    finally:
        await producer.stop()


async def test_kafka_is_away_only_when_no_broker_answers(brokers: Brokers):
    # given a tail that follows partitions of all brokers
    kafka = await brokers.new_topics(partitions=6)
    tail = Tail(kafka, client_id="test", from_end={kafka.topics.events: print})
    await tail.start()
    try:
        # when one broker after the other falls silent, then the last one that answers is enough
        for number in (1, 2):
            brokers.node(number).pause()
            await tail.probe()
        brokers.node(3).pause()
        with pytest.raises(Exception, match="did not answer in time"):
            await tail.probe()
    finally:
        brokers.heal()
        await tail.stop()
