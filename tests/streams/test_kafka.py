"""Producer, tails and topics on real Kafka."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError

from domain.errors import ControlPlaneError, Unavailable, Unpublishable
from streams.kafka.admin import TopicMismatch, check_topics, declare_topics
from streams.reading.tail import Tail
from streams.writing.outputs import Output, RecordPosition
from streams.writing.producer import Producer
from tests.conftest import until

# --- topics -------------------------------------------------------------------------------------------


def days(count: float) -> str:
    return str(int(timedelta(days=count).total_seconds() * 1000))


DECLARED = {
    "cluster-commands": {"cleanup.policy": "delete", "retention.ms": days(7)},
    "cluster-status-reports": {"cleanup.policy": "delete", "retention.ms": days(7)},
    "reconcile-ticks": {"cleanup.policy": "delete", "retention.ms": days(1 / 24)},
    "cluster-events": {"cleanup.policy": "delete", "retention.ms": days(7)},
    "cluster-state": {
        "cleanup.policy": "compact",
        "min.compaction.lag.ms": days(1 / 24),
        "delete.retention.ms": days(7),
    },
    "cluster-names": {"cleanup.policy": "compact", "delete.retention.ms": days(7)},
    "cluster-command-results": {"cleanup.policy": "delete", "retention.ms": days(1)},
    "cluster-create-requests": {"cleanup.policy": "delete", "retention.ms": days(7)},
    "cluster-commands.dlq": {"cleanup.policy": "delete", "retention.ms": days(30)},
    "cluster-status-reports.dlq": {"cleanup.policy": "delete", "retention.ms": days(30)},
    "cluster-create-requests.dlq": {"cleanup.policy": "delete", "retention.ms": days(30)},
    "reconcile-ticks.dlq": {"cleanup.policy": "delete", "retention.ms": days(30)},
}


async def test_topics_are_declared_as_the_contract_says(kafka):
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        names = {kafka.topics.prefix + name: expected for name, expected in DECLARED.items()}
        described = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, n) for n in names])
        for response in described:
            for _, _, _, name, entries in response.resources:
                config = {entry[0]: entry[1] for entry in entries}
                assert names[name].items() <= config.items(), name
        there = {topic["topic"]: topic for topic in await admin.describe_topics(list(names))}
        for name in names:
            expected = 1 if name.endswith(".dlq") else kafka.partitions
            assert expected == len(there[name]["partitions"]), name
    finally:
        await admin.close()


async def test_declaring_again_creates_nothing(kafka):
    assert ([], [], []) == await declare_topics(kafka)
    await check_topics(kafka)


async def test_a_topic_of_an_earlier_version_gets_what_is_new_and_keeps_what_is_set(kafka):
    name = kafka.topics.state
    given = {"cleanup.policy": "compact", "max.message.bytes": "9000000", "segment.bytes": "2000000"}
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, given)])

        async def config():
            (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
            ((_, _, _, _, entries),) = answer.resources
            return {entry[0]: entry[1] for entry in entries if entry[3] == 1}

        async def is_reset():
            return await config() == given

        async def is_completed():
            lags = {"min.compaction.lag.ms": days(1 / 24), "delete.retention.ms": days(7)}
            return await config() == {**given, **lags}

        await until(is_reset, what="the topic as it once was")
        assert [] == (await declare_topics(kafka)).created
        await until(is_completed, what="the topic with what is new")
    finally:
        await admin.close()


async def test_one_missing_topic_is_told_and_made(kafka):
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    await admin.delete_topics([kafka.topics.events])
    await admin.close()

    async def is_told():
        try:
            await check_topics(kafka)
        except TopicMismatch as error:
            return kafka.topics.events in str(error)
        return False

    await until(is_told, what="the missing topic's name")
    assert [kafka.topics.events] == (await declare_topics(kafka)).created


@pytest.mark.parametrize("ask", [declare_topics, check_topics])
async def test_another_partition_count_is_refused(kafka, ask):
    with pytest.raises(TopicMismatch, match="KAFKA_PARTITIONS"):
        await ask(replace(kafka, partitions=kafka.partitions + 1))


async def test_more_copies_than_brokers_are_refused_with_the_topic(kafka):
    topics = replace(kafka.topics, prefix=kafka.topics.prefix + "more.")
    with pytest.raises(ControlPlaneError, match="cannot create topic"):
        await declare_topics(replace(kafka, topics=topics, replication=3))


# --- producer -----------------------------------------------------------------------------------------


@pytest.fixture
async def producer(kafka):
    producer = Producer(kafka, client_id="test")
    await producer.start()
    yield producer
    await producer.stop()


async def everything(kafka, topic):
    servers = kafka.bootstrap_servers
    async with AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest") as consumer:
        places = [TopicPartition(topic, partition) for partition in range(kafka.partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        records = []
        while len(records) < sum(ends.values()):
            for polled in (await consumer.getmany(timeout_ms=200)).values():
                records += polled
        return records


async def test_what_publish_returns_is_in_the_log(kafka, producer):
    outputs = [Output(kafka.topics.events, b"k%d" % n, b"v%d" % n, {"n": str(n)}) for n in range(50)]
    positions = await producer.publish(outputs)
    found = {(r.partition, r.offset): r for r in await everything(kafka, kafka.topics.events)}
    for output, position in zip(outputs, positions, strict=True):
        record = found[position.partition, position.offset]
        assert (output.key, output.value) == (record.key, record.value)
        assert dict(record.headers) == {name: text.encode() for name, text in output.headers.items()}


async def hide_leader(producer, topic, partition, monkeypatch):
    """Have a partition seem to have no leader, until the patch is undone; one record is in each of two."""
    await producer.publish([Output(topic, b"k", b"v", partition=number) for number in range(2)])
    cluster = producer._inner.client.cluster
    leader, hidden = cluster.leader_for_partition, (topic, partition)
    monkeypatch.setattr(cluster, "leader_for_partition", lambda tp: None if tp == hidden else leader(tp))


async def test_each_partition_is_told_of_as_soon_as_it_has_acknowledged(kafka, producer, monkeypatch):
    """One whose leader can't be reached holds up its own records, and says for how long."""
    # given a partition that nobody leads
    topic = kafka.topics.events
    await hide_leader(producer, topic, 1, monkeypatch)

    told: dict[int, int] = {}
    first = asyncio.Event()

    def tell(places):
        told.update((number, at.partition) for number, at in places.items())
        first.set()

    # when records for it, and for another, are published together
    outputs = [Output(topic, b"k", b"v", partition=number % 2) for number in range(4)]
    publishing = asyncio.create_task(producer.publish(outputs, acknowledged=tell))
    await asyncio.wait_for(first.wait(), 30)

    # then the others are acknowledged
    assert {0: 0, 2: 0} == told
    assert not publishing.done()
    (waits,) = producer.waiting().items()
    assert (topic, 1) == waits[0]
    assert 0 <= waits[1] < 30

    # and those of the one are, once it is led again
    monkeypatch.undo()
    positions = await publishing
    assert [0, 1, 0, 1] == [position.partition for position in positions]
    assert {0: 0, 2: 0, 1: 1, 3: 1} == told
    assert {} == producer.waiting()


async def test_how_many_partitions_a_topic_has_is_known_once_it_was_published_to(kafka, producer):
    topic = kafka.topics.events
    assert 0 == producer.partitions(topic)
    await producer.publish([Output(topic, b"k", b"v")])
    assert kafka.partitions == producer.partitions(topic)
    await producer.stop()
    assert 0 == producer.partitions(topic)


async def test_who_begins_a_publish_goes_on_with_what_is_acknowledged(kafka, producer, monkeypatch):
    # given a partition that nobody leads
    topic = kafka.topics.events
    await hide_leader(producer, topic, 1, monkeypatch)

    # when records for it, and for another, are begun together
    sending = await producer.begin([Output(topic, b"k", b"v", partition=n % 2) for n in range(4)])
    ones, others = sending.part(1, 2), sending.part(0, 1)

    # then the others' are acknowledged, and nobody waits for longer than they want to
    assert [RecordPosition(0, 1)] == await others.wait_for(20)
    assert await sending.wait_for(0.01) is None
    assert [RecordPosition(0, 1), None, RecordPosition(0, 2), None] == sending.acknowledged()

    # and its own are once it is led again
    monkeypatch.undo()
    assert [RecordPosition(1, 1)] == await ones.wait()
    assert [
        RecordPosition(0, 1),
        RecordPosition(1, 1),
        RecordPosition(0, 2),
        RecordPosition(1, 2),
    ] == await sending.wait()


async def test_order_holds_per_partition_over_many_calls_at_once(kafka, producer):
    calls = [
        [Output(kafka.topics.events, b"k", b"%d" % (10 * call + n), partition=1) for n in range(10)]
        for call in range(40)
    ]
    await asyncio.gather(*(producer.publish(outputs) for outputs in calls))
    values = [int(record.value) for record in await everything(kafka, kafka.topics.events)]
    assert list(range(400)) == sorted(values)
    for call in range(40):
        mine = [value for value in values if value // 10 == call]
        assert mine == sorted(mine)


async def test_more_than_a_batch_holds_is_published_in_order(kafka, producer):
    values = [b"%06d" % n + b"x" * 2000 for n in range(600)]  # over a megabyte, in batches of 256 KiB
    outputs = [Output(kafka.topics.events, b"k", value, partition=1) for value in values]
    first, second = await asyncio.gather(producer.publish(outputs[:300]), producer.publish(outputs[300:]))
    found = {record.offset: record.value for record in await everything(kafka, kafka.topics.events)}
    assert values == [found[position.offset] for position in (*first, *second)]
    assert [*range(600)] == sorted(position.offset for position in (*first, *second))


async def test_who_gives_up_takes_nobody_along(kafka, producer):
    outputs = [Output(kafka.topics.events, b"k", b"%d" % n, partition=1) for n in range(2)]
    await producer.publish(outputs[:1])  # which brings the metadata
    impatient, patient = (asyncio.create_task(producer.publish([output])) for output in outputs)
    await asyncio.sleep(0)  # both have appended to one batch
    impatient.cancel()
    (position,) = await patient
    assert impatient.cancelled()
    found = {record.offset: record.value for record in await everything(kafka, kafka.topics.events)}
    assert b"1" == found[position.offset]


async def test_a_partition_given_is_kept_and_a_missing_value_deletes(kafka, producer):
    await producer.publish(
        [Output(kafka.topics.state, b"k", None, partition=p) for p in range(kafka.partitions)]
    )
    found = await everything(kafka, kafka.topics.state)
    assert [(p, b"k", None) for p in range(kafka.partitions)] == sorted(
        (record.partition, record.key, record.value) for record in found
    )


async def test_a_record_without_a_key_is_published_too(kafka, producer):
    (position,) = await producer.publish([Output(kafka.topics.events, None, b"v")])
    (record,) = await everything(kafka, kafka.topics.events)
    assert (position, None, b"v") == ((record.partition, record.offset), record.key, record.value)


async def test_a_stopped_producer_starts_again_when_it_is_needed(kafka, producer):
    await producer.stop()
    await producer.publish([Output(kafka.topics.events, b"k", b"v")])
    assert [b"v"] == [record.value for record in await everything(kafka, kafka.topics.events)]


async def test_one_record_too_large_fails_by_itself(kafka, producer):
    huge = Output(kafka.topics.events, b"k", b"x" * (9 * 1024 * 1024))
    with pytest.raises(Unpublishable):
        await asyncio.wait_for(producer.publish([Output(kafka.topics.events, b"k", b"with it"), huge]), 30)
    await producer.publish([Output(kafka.topics.events, b"k", b"small")])
    assert [b"small"] == [record.value for record in await everything(kafka, kafka.topics.events)]


async def test_nothing_to_publish_is_nothing(producer):
    assert [] == await producer.publish([])


# --- tails --------------------------------------------------------------------------------------------


@asynccontextmanager
async def following(tail: Tail) -> AsyncIterator[None]:
    await tail.start()
    running = asyncio.create_task(tail.run())
    try:
        yield
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await tail.stop()


def tail_of(kafka, **topics) -> Tail:
    return Tail(kafka, client_id="test", **topics)


async def publish(kafka, topic, *values, partition=0, **settings):
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, **settings) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, key=b"k", partition=partition)


async def test_a_tail_reads_what_was_there_then_what_comes(kafka):
    seen = []
    await publish(kafka, kafka.topics.state, *(b"%d" % n for n in range(30)))
    tail = tail_of(kafka, from_beginning={kafka.topics.state: lambda record: seen.append(record.value)})
    async with following(tail):
        await asyncio.wait_for(tail.caught_up.wait(), 20)
        assert 30 == len(seen)
        await publish(kafka, kafka.topics.state, b"30", b"31")

        async def all_seen():
            return len(seen) == 32

        await until(all_seen, what="what came later")
    assert [b"%d" % n for n in range(32)] == seen


async def test_a_tail_from_the_end_reads_what_comes_only(kafka):
    seen = []
    await publish(kafka, kafka.topics.results, b"before")
    tail = tail_of(kafka, from_end={kafka.topics.results: lambda record: seen.append(record.value)})
    async with following(tail):
        assert tail.caught_up.is_set()
        await publish(kafka, kafka.topics.results, b"after")

        async def came():
            return seen

        await until(came, what="the record")
    assert [b"after"] == seen


async def test_empty_topics_are_read_at_once(kafka):
    tail = tail_of(kafka, from_beginning={kafka.topics.state: print})
    async with following(tail):
        await asyncio.wait_for(tail.caught_up.wait(), 10)


async def test_a_handler_that_fails_stops_nobody(kafka):
    seen = []

    def handle(record):
        if record.value == b"bad":
            raise ValueError("no")
        seen.append(record.value)

    await publish(kafka, kafka.topics.state, b"bad", b"1", b"bad", b"2", b"bad")
    tail = tail_of(kafka, from_beginning={kafka.topics.state: handle})
    async with following(tail):
        await asyncio.wait_for(tail.caught_up.wait(), 20)
    assert [b"1", b"2"] == seen


async def test_a_topic_that_ends_without_a_record_is_read_to_its_end(kafka):
    """A transaction's marker, or a tombstone that compaction took away, has no record before the end."""
    transactional = {"bootstrap_servers": kafka.bootstrap_servers, "transactional_id": kafka.topics.prefix}
    async with AIOKafkaProducer(**transactional) as producer, producer.transaction():
        await producer.send_and_wait(kafka.topics.state, b"1", key=b"k", partition=0)
    tail = tail_of(kafka, from_beginning={kafka.topics.state: lambda record: None})
    async with following(tail):
        await asyncio.wait_for(tail.caught_up.wait(), 15)


async def test_a_probe_tells_whether_a_broker_answers(kafka):
    tail = tail_of(kafka, from_beginning={kafka.topics.state: print})
    with pytest.raises(Unavailable):
        await tail.probe()  # it has not been connected
    async with following(tail):
        await tail.probe()


async def test_a_pause_of_this_process_is_not_taken_for_kafkas(kafka):
    """The deadline passed while nobody could read the answer."""
    tail = tail_of(kafka, from_beginning={kafka.topics.state: print})
    async with following(tail):
        asyncio.get_running_loop().call_soon(time.sleep, 2.5)  # as soon as the probe waits
        await tail.probe()


@pytest.mark.parametrize(("failures", "passes"), [(1, True), (1000, False)])
async def test_a_probe_that_fails_is_made_again_within_its_time(kafka, monkeypatch, failures, passes):
    # given a connection that is gone, for once or for good
    tail = tail_of(kafka, from_beginning={kafka.topics.state: print})
    left = iter(range(failures))
    async with following(tail):
        asks = tail._brokers.ask

        async def ask(request):
            if next(left, None) is not None:
                raise KafkaConnectionError("the connection is gone")
            return await asks(request)

        monkeypatch.setattr(tail._brokers, "ask", ask)

        # when a probe is made, then only the first kind passes
        if passes:
            await tail.probe()
        else:
            with pytest.raises(Unavailable, match="the connection is gone"):
                await tail.probe()
