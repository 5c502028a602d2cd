"""Where a key's records go: by murmur2, as in Kafka's Java client, so that all who publish one agree."""

from functools import lru_cache
from typing import Final

from aiokafka.partitioner import murmur2

MAX_KEPT: Final = 1024
"""Bytes of a key whose hash is kept. Ours are shorter; a client's may take a megabyte, thousands of times."""


def partition_of(key: bytes, partitions: int) -> int:
    """The partition a key belongs to, given the number of partitions."""
    hashed = _kept(key) if len(key) <= MAX_KEPT else _hashed(key)
    return hashed % partitions


def _hashed(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF


_kept = lru_cache(maxsize=8192)(_hashed)  # it takes 7 µs; a command, its event and its state share a key
