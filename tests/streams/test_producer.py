"""The one producer of a process, over a client that fails as it is told to."""

import asyncio
import logging
from typing import ClassVar

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    UnknownTopicOrPartitionError,
)

from domain.errors import Unavailable, Unpublishable
from streams.settings import KafkaSettings
from streams.writing import producer as module
from streams.writing.appending import _known
from streams.writing.outputs import Output
from streams.writing.producer import Producer

ONE = [Output("a", b"k", b"v")]


class Client:
    """As much of aiokafka's producer as connecting and giving up takes."""

    made: "ClassVar[list[Client]]"
    refused = False  # whether no broker answers
    hangs = False  # whether a stop takes for ever

    def __init__(self, **settings):
        self.made.append(self)
        self.client = self._sender = self._message_accumulator = self
        self.started = self.stopped = self.closed = False
        self.failed_with = None

    async def start(self):
        await asyncio.sleep(0)
        if self.refused:
            raise KafkaConnectionError("nobody there")
        self.started = True

    async def stop(self):
        if self.hangs:
            await asyncio.Event().wait()
        self.stopped = True

    async def close(self):
        self.closed = True

    def fail_all(self, error):
        self.failed_with = error


@pytest.fixture
def clients(monkeypatch):
    class Clients(Client):
        made: ClassVar[list[Client]] = []

    monkeypatch.setattr(module, "AIOKafkaProducer", Clients)
    monkeypatch.setattr(module, "Brokers", lambda client: None)
    return Clients


@pytest.fixture
def sent(monkeypatch):
    """What sending does: set `answer` to a coroutine function of the client."""

    class Sent:
        async def answer(self, client):
            return []

    answers = Sent()

    async def append_all(client, outputs):
        return await answers.answer(client)

    monkeypatch.setattr(module, "append_all", append_all)
    return answers


@pytest.fixture
def producer(clients, sent):
    return Producer(KafkaSettings(bootstrap_servers="none:9092"), client_id="test")


async def test_all_who_publish_at_once_share_one_connection(producer, clients):
    await asyncio.gather(*(producer.publish(ONE) for _ in range(50)))
    (client,) = clients.made
    await producer.stop()
    assert client.stopped


async def test_one_attempt_fails_for_all_who_wait_for_it_and_the_next_is_a_new_one(producer, clients):
    clients.refused = True
    ends = await asyncio.gather(*(producer.publish(ONE) for _ in range(50)), return_exceptions=True)
    assert [Unavailable] * 50 == [type(end) for end in ends]
    (client,) = clients.made
    assert client.stopped
    clients.refused = False
    await producer.publish(ONE)
    assert 2 == len(clients.made)


async def test_who_gives_up_connecting_takes_nobody_along(producer, clients):
    impatient, patient = (asyncio.create_task(producer.publish(ONE)) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    assert impatient.cancelled()
    assert 1 == len(clients.made)


async def test_a_stop_ends_an_attempt_to_connect(producer, clients):
    waiting = asyncio.create_task(producer.publish(ONE))
    while not clients.made:
        await asyncio.sleep(0)
    await producer.stop()
    with pytest.raises(Unavailable):
        await waiting
    (client,) = clients.made
    assert client.stopped
    assert not client.started


async def test_a_late_failure_leaves_the_next_connection_alone(producer, clients, sent):
    both_in = asyncio.Barrier(2)
    late = asyncio.Event()

    async def fail(client):
        if client is not clients.made[0]:
            return []
        if await both_in.wait():
            await late.wait()
        raise KafkaTimeoutError

    sent.answer = fail
    calls = [asyncio.create_task(producer.publish(ONE)) for _ in range(2)]
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    await producer.publish(ONE)  # over a new connection
    late.set()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    await producer.publish(ONE)
    assert [Unavailable] * 2 == [type(end) for end in ends]
    assert [True, False] == [client.stopped for client in clients.made]


async def test_a_connection_that_would_not_stop_is_cut(producer, clients, sent, monkeypatch, caplog):
    async def fail(client):
        raise KafkaTimeoutError

    monkeypatch.setattr(module, "STOP_WITHIN", 0.01)
    sent.answer, clients.hangs = fail, True
    with caplog.at_level(logging.WARNING), pytest.raises(Unavailable):
        await producer.publish(ONE)
    (client,) = clients.made
    assert client.closed
    assert client.failed_with is not None  # nobody waits for ever for what it held
    assert "would not stop" in caplog.text


async def test_what_the_broker_finds_too_large_ends_the_connection_too(producer, clients, sent):
    """Its sequence number is spent: whatever followed on this connection would be out of order."""

    async def fail(client):
        raise MessageSizeTooLargeError

    sent.answer = fail
    with pytest.raises(Unpublishable):
        await producer.publish(ONE)
    assert [True] == [client.stopped for client in clients.made]


# --- metadata -----------------------------------------------------------------------------------------


class Metadata:
    """What is known of topics; each answer tells of some of them."""

    def __init__(self, *answers):
        self.known, *self.answers = answers
        self._metadata = self

    def partitions_for_topic(self, topic):
        return {0} if topic in self.known else None

    async def partitions_for(self, topic):
        while topic not in self.known:
            if not self.answers:
                raise UnknownTopicOrPartitionError
            self.known = self.answers.pop(0)
        return {0}


async def test_a_topic_that_is_lost_while_another_is_asked_for_is_asked_for_again():
    inner = Metadata({"a"}, {"b"}, {"c"}, {"a", "b", "c"})
    await _known(inner, {"a", "b", "c"})
    assert {"a", "b", "c"} == inner.known


async def test_a_topic_that_stays_lost_is_an_error_of_kafka():
    with pytest.raises(KafkaError):
        await _known(Metadata({"a"}, {"b"}, {"b"}), {"a", "b"})


async def test_topics_that_are_never_known_together_are_given_up_in_time(monkeypatch):
    class Alternating(Metadata):
        async def partitions_for(self, topic):
            await asyncio.sleep(0)
            self.known = {topic}
            return {0}

    monkeypatch.setattr("streams.writing.appending.KNOWN_WITHIN", 0.01)
    with pytest.raises(KafkaTimeoutError, match=r"partitions not known: [ab]"):
        await _known(Alternating({"a"}), {"a", "b"})
