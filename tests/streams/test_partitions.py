"""Keys and partitions: as Kafka's own clients have them."""

import tracemalloc
from uuid import UUID, uuid4

import pytest
from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from streams.kafka.partitions import beside, partition_of


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        pytest.param(b"21", -973932308, id="two bytes"),
        pytest.param(b"abc", 479470107, id="three bytes"),
        pytest.param(b"foobar", -790332482, id="a word and a rest"),
        pytest.param(b"a-little-bit-long-string", -985981536, id="words alone"),
        pytest.param(b"a-little-bit-longer-string", -1486304829, id="words and a rest"),
        pytest.param(b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971, id="many words"),
    ],
)
def test_a_key_goes_where_the_java_client_puts_it(key, hashed):
    """The hashes are those of Kafka's own test, `UtilsTest.testMurmur2`."""
    for partitions in (1, 12, 48):
        assert (hashed & 0x7FFFFFFF) % partitions == partition_of(key, partitions)


@given(st.binary(max_size=300))
def test_any_key_goes_where_aiokafka_puts_it(key):
    assert (murmur2(key) & 0x7FFFFFFF) % 12 == partition_of(key, 12)


def test_hashes_of_long_keys_are_not_kept():
    # given clients that never repeat a key
    tracemalloc.start()
    try:
        # when the partitions of 60 keys of 10 KB are asked for
        for number in range(60):
            partition_of(b"%d" % number + bytes(10_000), 12)

        # then they are not in memory any more
        assert tracemalloc.get_traced_memory()[0] < 300_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("partitions", [1, 4, 12, 500])
def test_an_id_lies_beside_a_key(partitions):
    ids = {n: beside(f"key {n}".encode(), partitions, str(uuid4())) for n in range(50)}
    assert 50 == len(set(ids.values()))
    for number, id in ids.items():
        assert partition_of(f"key {number}".encode(), partitions) == partition_of(id.encode(), partitions)
        assert (4, id) == (UUID(id).version, str(UUID(id)))
