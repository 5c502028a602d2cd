"""The partition of a key by murmur2, as in Kafka's Java client, so that all publishers of a key agree.

aiokafka's murmur2 goes byte by byte, which takes twice as long, and cannot go on from a common beginning.
Source: Austin Appleby's MurmurHash2 with the seed of Kafka's `Utils.murmur2`.
"""

from functools import lru_cache
from random import randrange
from struct import iter_unpack
from typing import Final

MAX_KEY_BYTES: Final = 2048
"""Bytes of the longest valid key: `<created_by>/<name>` of 254 and 63 characters, in UTF-8.

A longer key is a client's mistake. Its hash is not cached, and agents do not compute it, because hashing a
megabyte takes 0.2 seconds.
"""


def partition_of(key: bytes, partitions: int) -> int:
    """The partition a key belongs to, given the number of partitions."""
    hashed = _kept(key) if len(key) <= MAX_KEY_BYTES else _hashed(key)
    return hashed % partitions


_M: Final = 0x5BD1E995  # murmur2's multiplier
_SEED: Final = 0x9747B28C  # and Kafka's seed for it
_WORD: Final = 0xFFFFFFFF


def _hashed(key: bytes) -> int:
    size = len(key)
    whole = size - size % 4
    state = _mixed(_SEED ^ size, key[:whole])
    if whole < size:
        state = (state ^ int.from_bytes(key[whole:], "little")) * _M & _WORD
    return _ended(state)


def _mixed(state: int, words: bytes) -> int:
    """Murmur2 after these words of four bytes each."""
    for (word,) in iter_unpack("<I", words):
        word = word * _M & _WORD
        state = (state * _M & _WORD) ^ ((word ^ word >> 24) * _M & _WORD)
    return state


def _ended(state: int) -> int:
    """The hash of a key whose last state this is, without its sign."""
    state = (state ^ state >> 13) * _M & _WORD
    return (state ^ state >> 15) & 0x7FFFFFFF


_kept = lru_cache(maxsize=8192)(_hashed)  # hashing takes 3 µs; command, event and state share a key


_UUID_LENGTH: Final = 36
_DRAWN: Final = 4  # digits of an id that are drawn again: one word


def beside(key: bytes, partitions: int, uuid: str) -> str:
    """A UUID with other last digits, in the partition of a key, so that one turn may change both.

    The digits are counted up from a drawn number until it is there.
    """
    wanted = partition_of(key, partitions)
    begin = uuid[:-_DRAWN]
    state = _mixed(_SEED ^ _UUID_LENGTH, begin.encode())
    drawn = randrange(16**_DRAWN)  # noqa: S311 - the rest of the id is what nobody can guess
    while _ended(_mixed(state, b"%04x" % drawn)) % partitions != wanted:
        drawn = (drawn + 1) % 16**_DRAWN
    return f"{begin}{drawn:04x}"
