"""Where a key's records go: by murmur2, as in Kafka's Java client, so that all who publish one agree."""

from functools import lru_cache
from typing import Final

from aiokafka.partitioner import murmur2

MAX_KEY_BYTES: Final = 2048
"""Bytes of the longest key there can be: `<created_by>/<name>` of 254 and 63 characters, in UTF-8.

A longer one is a client's mistake. Its hash is not kept, and agents do not ask for it: that of a megabyte
takes 0.2 seconds.
"""


def partition_of(key: bytes, partitions: int) -> int:
    """The partition a key belongs to, given the number of partitions."""
    hashed = _kept(key) if len(key) <= MAX_KEY_BYTES else _hashed(key)
    return hashed % partitions


def _hashed(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF


_kept = lru_cache(maxsize=8192)(_hashed)  # it takes 7 µs; a command, its event and its state share a key
