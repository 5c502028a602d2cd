"""Keys that no record of ours can have are refused before they are hashed."""

from types import SimpleNamespace

import pytest

from agents import placement
from agents.placement import Placement
from domain.errors import MalformedRecord
from streams.kafka.partitions import MAX_KEY_BYTES

EMPTY = SimpleNamespace(holds=lambda partition, key: False)


@pytest.mark.parametrize("key", [None, b"", b"k" * (MAX_KEY_BYTES + 1)], ids=["none", "empty", "too long"])
def test_a_record_without_a_usable_key_is_malformed(monkeypatch, key):
    monkeypatch.setattr(placement, "partition_of", None)
    record = SimpleNamespace(topic="t", partition=0, offset=1, key=key, value=b"{}", headers=())
    with pytest.raises(MalformedRecord, match="key") as caught:
        Placement(12, EMPTY).correction(record)
    assert "bad_key" == caught.value.reason


def test_the_longest_key_is_put_in_its_place():
    longest = b"k" * MAX_KEY_BYTES
    records = [
        SimpleNamespace(topic="t", partition=number, offset=1, key=longest, value=b"{}", headers=())
        for number in range(12)
    ]
    corrections = [Placement(12, EMPTY).correction(record) for record in records]
    assert 11 == sum(output is not None for output in corrections)
