"""The partition of a key by murmur2, as in Kafka's Java client, so that all publishers of a key agree."""

from functools import lru_cache
from typing import Final

from aiokafka.partitioner import murmur2

MAX_KEY_BYTES: Final = 2048
"""Bytes of the longest valid key: `<created_by>/<name>` of 254 and 63 characters, in UTF-8.

A longer key is a client's mistake. Its hash is not cached, and agents do not compute it, because hashing a
megabyte takes 0.2 seconds.
"""


def partition_of(key: bytes, partitions: int) -> int:
    """The partition a key belongs to, given the number of partitions."""
    hashed = _kept(key) if len(key) <= MAX_KEY_BYTES else _hashed(key)
    return hashed % partitions


def _hashed(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF


_kept = lru_cache(maxsize=8192)(_hashed)  # hashing takes 7 µs; command, event and state share a key
