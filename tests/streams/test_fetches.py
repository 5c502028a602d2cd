"""Fetch sessions: what they say is what has changed, and what they bring is everything."""

import asyncio
from collections import defaultdict
from itertools import chain
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.protocol.fetch import FetchRequest, FetchRequest_v4, FetchRequest_v7, FetchRequest_v11
from hypothesis import given
from hypothesis import strategies as st

from streams.reading.fetches import FULL_ANSWER, Session, SessionClient, fetch_in_sessions
from tests.conftest import until

MOST = 1024


def topics(**offsets):
    """`a=[3, None, 5]`: partitions 0 and 2 of topic `a`, wanted from 3 and from 5 on."""
    return [
        (name, [(number, offset, MOST) for number, offset in enumerate(wanted) if offset is not None])
        for name, wanted in offsets.items()
    ]


def answer(*, session_id=7, error_code=0, version=11, bytes_=0):
    partition = (0, 0, 0, 0, 0, [], -1, b"x" * bytes_)
    return SimpleNamespace(
        API_VERSION=version, session_id=session_id, error_code=error_code, topics=[("a", [partition])]
    )


class Broker:
    """Stands for aiokafka's client: keeps the requests as they would go out, and answers or fails."""

    def __init__(self, version=FetchRequest_v11):
        self.version = version
        self.sent = []
        self.answers = []

    async def send(self, node_id, request):
        self.sent.append((node_id, request.build(self.version)))
        result = self.answers.pop(0) if self.answers else answer(version=self.version.API_VERSION)
        if isinstance(result, BaseException):
            raise result
        return result

    def force_metadata_update(self):
        return "done"


async def fetch(client, *, node_id=1, **offsets):
    request = FetchRequest(500, 1, 2**20, 0, topics(**offsets))
    await client.send(node_id, request)
    assert topics(**offsets) == request.topics  # aiokafka looks at it again when the answer is there


def said(request):
    """A request's session and epoch, what it names with offsets, and what it takes back."""
    named = {(topic, p[0]): p[-3] for topic, partitions in request.topics for p in partitions}
    gone = {(topic, number) for topic, numbers in request.forgotten_topics_data for number in numbers}
    return request.session_id, request.session_epoch, named, gone


@pytest.fixture
def broker():
    return Broker()


async def test_the_first_fetch_names_all_and_the_next_what_has_moved(broker):
    client = SessionClient(broker)
    await fetch(client, a=[0, 0, 0], b=[9])
    await fetch(client, a=[0, 4, 0], b=[9])
    await fetch(client, a=[0, 4, 0], b=[9])
    assert [
        (0, 0, {("a", 0): 0, ("a", 1): 0, ("a", 2): 0, ("b", 0): 9}, set()),
        (7, 1, {("a", 1): 4}, set()),
        (7, 2, {}, set()),
    ] == [said(request) for _, request in broker.sent]


async def test_what_is_wanted_no_more_is_taken_back_and_can_come_again(broker):
    client = SessionClient(broker)
    await fetch(client, a=[0, 5], b=[1])
    await fetch(client, a=[0, None])
    await fetch(client, a=[0, 5])
    assert [
        (7, 1, {}, {("a", 1), ("b", 0)}),
        (7, 2, {("a", 1): 5}, set()),
    ] == [said(request) for _, request in broker.sent[1:]]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(answer(error_code=70), id="the broker knows no such session"),
        pytest.param(answer(error_code=71), id="it is at another fetch"),
        pytest.param(ConnectionError(), id="no answer"),
        pytest.param(asyncio.CancelledError(), id="nobody waits for the answer"),
    ],
)
async def test_after_a_break_everything_is_named_again(broker, broken):
    client = SessionClient(broker)
    await fetch(client, a=[0, 5])
    broker.answers = [broken]
    try:
        await fetch(client, a=[1, 5])
    except (ConnectionError, asyncio.CancelledError) as error:
        assert error is broken
    await fetch(client, a=[1, 5])
    await fetch(client, a=[1, 6])
    assert [
        (7, 0, {("a", 0): 1, ("a", 1): 5}, set()),
        (7, 1, {("a", 1): 6}, set()),
    ] == [said(request) for _, request in broker.sent[2:]]


async def test_a_broker_that_keeps_no_session_is_told_everything_each_time(broker):
    client = SessionClient(broker)
    broker.answers = [answer(session_id=0), answer(session_id=0)]
    await fetch(client, a=[0])
    await fetch(client, a=[0])
    assert [(0, 0, {("a", 0): 0}, set())] * 2 == [said(request) for _, request in broker.sent]


async def test_each_broker_has_a_session_of_its_own(broker):
    client = SessionClient(broker)
    await fetch(client, node_id=1, a=[0])
    await fetch(client, node_id=2, b=[3])
    assert [1, 2] == [node for node, _ in broker.sent]
    assert (0, 0, {("b", 0): 3}, set()) == said(broker.sent[1][1])


async def test_a_broker_from_before_sessions_is_asked_as_ever():
    broker = Broker(FetchRequest_v4)
    client = SessionClient(broker)
    for _ in range(2):
        await fetch(client, a=[0, 5])
    assert [topics(a=[0, 5])] * 2 == [request.topics for _, request in broker.sent]


async def test_the_oldest_version_with_sessions_is_understood():
    broker = Broker(FetchRequest_v7)
    client = SessionClient(broker)
    await fetch(client, a=[0, 5])
    await fetch(client, a=[0, 6])
    assert (7, 1, {("a", 1): 6}, set()) == said(broker.sent[1][1])


async def test_other_requests_and_members_pass(broker):
    client = SessionClient(broker)
    request = SimpleNamespace(build=lambda version: "as it is")
    await client.send(3, request)
    assert [(3, "as it is")] == broker.sent
    assert "done" == client.force_metadata_update()


async def test_after_records_a_reader_that_gathers_fetches_again_only_after_its_pause(broker):
    # given a reader that was answered with records
    client = SessionClient(broker, pause=600.0)
    broker.answers = [answer(bytes_=100)]
    await fetch(client, a=[0])

    # when it fetches from that broker, and from another one
    again = asyncio.create_task(fetch(client, a=[1]))
    await fetch(client, node_id=2, a=[0])

    # then only the first waits
    assert [1, 2] == [node for node, _ in broker.sent]
    again.cancel()


@pytest.mark.parametrize(
    ("bytes_", "pause"),
    [
        pytest.param(0, 600.0, id="nothing new"),
        pytest.param(FULL_ANSWER, 600.0, id="a full answer: there is more"),
        pytest.param(100, 0.0, id="a reader that does not gather"),
    ],
)
async def test_other_fetches_follow_at_once(broker, bytes_, pause):
    client = SessionClient(broker, pause=pause)
    broker.answers = [answer(bytes_=bytes_)]
    await fetch(client, a=[0])
    async with asyncio.timeout(5):
        await fetch(client, a=[1])
    assert 2 == len(broker.sent)


async def test_a_fetch_that_is_given_up_in_its_pause_leaves_the_session_as_it_was(broker):
    client = SessionClient(broker, pause=600.0)
    broker.answers = [answer(bytes_=100)]
    await fetch(client, a=[0])
    waiting = asyncio.create_task(fetch(client, a=[1]))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    client._paused_until.clear()
    await fetch(client, a=[2])
    assert (7, 1, {("a", 0): 2}, set()) == said(broker.sent[1][1])


def test_epochs_begin_again_after_the_last():
    session = Session()
    session.answered(answer())
    session.epoch = 2**31 - 1
    session.answered(answer())
    assert 1 == session.epoch


wants = st.dictionaries(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), st.integers(0, 2))


@given(st.lists(wants))
def test_a_broker_always_knows_what_is_wanted(fetches):
    """Played from the broker's side: what a fetch names is added, what it takes back is removed."""
    session = Session()
    known = {}
    for wanted in fetches:
        by_topic = defaultdict(list)
        for (topic, number), offset in wanted.items():
            by_topic[topic].append((number, offset, MOST))
        named, gone = session.narrow([*by_topic.items()])
        for topic, numbers in gone:
            for number in numbers:
                del known[topic, number]
        named = {(topic, number): offset for topic, parts in named for number, offset, _ in parts}
        assert all(known.get(place) != offset for place, offset in named.items())
        known |= named
        assert wanted == known


# --- on real Kafka ------------------------------------------------------------------------------------


async def test_everything_comes_in_order_also_when_the_broker_has_lost_the_session(servers):
    """Records to all partitions, some of them paused now and then, over sessions broken on purpose."""
    kafka = await servers.new_topics(partitions=6)
    topic, seen = kafka.topics.commands, defaultdict(list)
    places = [TopicPartition(topic, number) for number in range(6)]
    requests = []
    async with (
        AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer,
        AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, group_id=None) as consumer,
    ):
        fetch_in_sessions(consumer)
        client = consumer._fetcher._client
        client._inner = Spy(client._inner, requests)
        consumer.assign(places)
        await consumer.seek_to_beginning()

        async def all_of(count):
            for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                seen[tp.partition] += [int(record.value) for record in records]
            return [*range(count)] == sorted(chain(*seen.values()))

        for number in range(60):
            consumer.resume(*places)
            if number % 7 == 0:
                consumer.pause(places[number % 6 - 1])
            if number % 20 == 10:
                (session,) = client._sessions.values()
                session.id, session.epoch = 12345, 9
            if number % 20 == 15:
                await consumer.seek_to_beginning(places[0])
                seen[0].clear()
            await producer.send_and_wait(topic, b"%d" % number, partition=number % 6)
            await until(lambda count=number + 1: all_of(count), within=20, what="every record")
    for number, values in seen.items():
        assert [*range(number, 60, 6)] == values
    narrow = [request for request in requests if request.session_epoch > 0]
    assert len(narrow) > len(requests) / 2
    assert any(not request.topics for request in narrow)


class Spy:
    """A client that notes the fetches which go over the wire."""

    def __init__(self, inner, requests):
        self._inner, self._requests = inner, requests

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def send(self, node_id, request, **options):
        build = request.build

        def noted(version):
            built = build(version)
            if isinstance(request, FetchRequest):
                self._requests.append(built)
            return built

        request.build = noted
        return await self._inner.send(node_id, request, **options)
