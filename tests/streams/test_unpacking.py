"""Batches unpack to everything within the bound; beyond it one record stands for them, at a bounded cost."""

import struct
import subprocess
import sys
from itertools import chain

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.codec import snappy_encode
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from streams.reading.unpacking import MAX_BATCH_BYTES, Batches, FetchedBatch, bound_unpacking, unreadable
from streams.settings import KafkaSettings

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def batch_of(values, *, codec=0, headers=(), first=7):
    """A batch as brokers hand it out, its first record at offset `first`."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=10**9,
    )
    for number, value in enumerate(values):
        assert builder.append(number, timestamp=1000, key=b"k", value=value, headers=list(headers))
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, first)
    return bytes(data)


def records_of(data):
    batches = Batches(data)
    found = []
    while batches.has_next():
        found += list(batches.next_batch())
    return found


@pytest.mark.parametrize("codec", [0, *CODECS.values()], ids=["plain", *CODECS])
def test_what_is_within_the_bound_comes_as_it_was_sent(codec):
    values = [b"first", None, b"x" * 1_000_000, bytes(range(256)) * 100]

    found = records_of(
        batch_of(values, codec=codec, headers=[("h", b"1")]) + batch_of([b"next"], codec=codec, first=11)
    )

    assert [*values, b"next"] == [record.value for record in found]
    assert [7, 8, 9, 10, 11] == [record.offset for record in found]
    assert [("h", b"1")] == found[0].headers


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_batch_up_to_the_bound_is_taken_and_one_byte_more_is_not(codec):
    empty = 61 + len(batch_of([b""])[61:])
    most = MAX_BATCH_BYTES - (empty - 61) - 2 * 3  # two lengths take four bytes instead of one

    [taken] = records_of(batch_of([b" " * most], codec=codec))
    [refused] = records_of(batch_of([b" " * (most + 1)], codec=codec))

    assert most == len(taken.value)
    assert "offsets 7 to 7 unpack to more than 32768 KiB" == unreadable(refused)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_what_comes_behind_a_batch_that_unpacks_to_too_much_is_read(codec):
    bomb = batch_of([b"a", b"\0" * (MAX_BATCH_BYTES + 1)], codec=codec)

    stands, after = records_of(bomb + batch_of([b"after"], first=9))

    assert (8, None, None) == (stands.offset, stands.key, stands.value)
    assert 1000 == stands.timestamp
    assert b"after" == after.value


def test_a_snappy_stream_of_many_blocks_is_bounded_as_a_whole():
    plain = batch_of([b" " * (MAX_BATCH_BYTES + 1)])
    packed = snappy_encode(plain[61:], xerial_compatible=True)
    data = bytearray(plain[:61] + packed)
    struct.pack_into(">i", data, 8, len(data) - 12)
    struct.pack_into(">h", data, 21, CODECS["snappy"])

    [stands] = records_of(bytes(data))

    assert "more than" in unreadable(stands)


@pytest.mark.parametrize("codec", [*CODECS.values(), 5, 7], ids=[*CODECS, "5", "7"])
@pytest.mark.parametrize("body", [b"", b"no such thing", b"\x1f\x8b\x08\x00", b"\xff" * 40], ids=repr)
def test_what_cannot_be_unpacked_stands_for_itself(codec, body):
    data = bytearray(batch_of([b"one", b"two"])[:61] + body)
    struct.pack_into(">i", data, 8, len(data) - 12)
    struct.pack_into(">h", data, 21, codec)

    stands, after = records_of(bytes(data) + batch_of([b"after"], first=9))

    assert "are no records" in unreadable(stands)
    assert 8 == stands.offset
    assert b"after" == after.value


def test_a_header_name_that_is_no_text_stops_nobody():
    data = batch_of([b"one"], headers=[("abc", b"1")]).replace(b"abc", b"\xff\xfe\xfd")

    stands, after = records_of(data + batch_of([b"after"], first=8))

    assert "UnicodeDecodeError" in unreadable(stands) or "CorruptRecord" in unreadable(stands)
    assert b"after" == after.value


def test_a_batch_that_was_cut_off_by_the_size_of_the_fetch_is_left_for_the_next():
    whole = batch_of([b"one"])

    batches = Batches(whole + batch_of([b"two"], first=8)[:-1])

    assert [b"one"] == [record.value for record in batches.next_batch()]
    assert not batches.has_next()


def test_a_batch_says_of_itself_what_aiokafka_asks():
    data = batch_of([b"one", b"two"], codec=4)
    batch, inner = FetchedBatch(memoryview(data), Batches(b"")), DefaultRecordBatch(data)

    for member in ("base_offset", "next_offset", "producer_id", "is_control_batch", "is_transactional"):
        assert getattr(inner, member) == getattr(batch, member)


def test_only_a_record_without_key_and_value_stands_for_others():
    [record] = records_of(batch_of([b"mine"], headers=[("clusterflow_unreadable", b"so I say")]))

    assert unreadable(record) is None


async def test_a_poll_ends_when_it_has_unpacked_enough(kafka: KafkaSettings):
    topic, size = kafka.topics.reports, 2_000_000
    async with AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap_servers, compression_type="zstd", max_request_size=10**8
    ) as producer:
        for _ in range(20):  # each by itself a batch of a few hundred bytes
            await producer.send_and_wait(topic, b" " * size, partition=0)
        for partition in range(1, 4):
            await producer.send_and_wait(topic, b"other", partition=partition)
    async with AIOKafkaConsumer(**kafka.client("test"), group_id=None) as consumer:
        bound_unpacking(consumer)
        places = [TopicPartition(topic, partition) for partition in range(4)]
        consumer.assign(places)
        for place in places:
            consumer.seek(place, 0)

        polls = []
        while sum(len(records) for poll in polls for records in poll.values()) < 23:
            polls.append(await consumer.getmany(timeout_ms=5000))

    assert all(sum(len(r.value) for r in chain(*poll.values())) <= 6 * size for poll in polls)
    first = [record.offset for poll in polls for record in poll.get(places[0], ())]
    assert [*range(20)] == first


HUNGRY = """
import sys, resource
from streams.reading.unpacking import Batches, unreadable
data = sys.stdin.buffer.read()
batches = Batches(data)
while batches.has_next():
    for record in batches.next_batch():
        assert unreadable(record), record
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
def test_a_gigabyte_takes_a_process_no_more_than_the_bound(codec):
    import cramjam

    pack = {
        "gzip": lambda data: bytes(cramjam.gzip.compress(data)),
        "lz4": lambda data: bytes(cramjam.lz4.compress(data)),
        "zstd": lambda data: bytes(cramjam.zstd.compress(data, level=3)),
    }
    packed = pack[codec](b" " * 2**30)
    data = bytearray(batch_of([b"x"])[:61] + packed)
    struct.pack_into(">i", data, 8, len(data) - 12)
    struct.pack_into(">h", data, 21, CODECS[codec])

    def memory(input: bytes) -> int:
        """Of a process that reads this, at its most, in MiB."""
        ran = subprocess.run([sys.executable, "-c", HUNGRY], input=input, capture_output=True, check=True)
        return int(ran.stdout) // 1024

    assert memory(bytes(data)) - memory(b"") <= 4 * MAX_BATCH_BYTES // 2**20
