"""The partition of a key by murmur2, as in Kafka's Java client, so that all publishers of a key agree."""

from functools import lru_cache
from random import randrange
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


_M: Final = 0x5BD1E995  # murmur2's multiplier
_SEED: Final = 0x9747B28C  # and Kafka's seed for it
_UUID_LENGTH: Final = 36
_DRAWN: Final = 4  # digits of an id that are drawn again; murmur2 reads four bytes at a time


def beside(key: bytes, partitions: int, uuid: str) -> str:
    """A UUID with other last digits, in the partition of a key, so that one turn may change both.

    They are drawn until it is there. What murmur2 makes of the other digits is computed once, or a dozen
    draws would take 80 µs instead of 20.
    """
    wanted = partition_of(key, partitions)
    begin = uuid[:-_DRAWN]
    state = _SEED ^ _UUID_LENGTH
    for block in range(0, _UUID_LENGTH - _DRAWN, 4):
        state = _mixed(state, begin[block : block + 4].encode())
    while True:
        end = f"{randrange(16**_DRAWN):04x}"  # noqa: S311 - the rest of the id is what nobody can guess
        if (_ended(_mixed(state, end.encode())) & 0x7FFFFFFF) % partitions == wanted:
            return begin + end


def _mixed(state: int, block: bytes) -> int:
    """Murmur2 after four more bytes."""
    k = int.from_bytes(block, "little") * _M & 0xFFFFFFFF
    k = (k ^ k >> 24) * _M & 0xFFFFFFFF
    return (state * _M & 0xFFFFFFFF) ^ k


def _ended(state: int) -> int:
    """Murmur2 of a key whose length is a multiple of four."""
    state = (state ^ state >> 13) * _M & 0xFFFFFFFF
    return state ^ state >> 15
