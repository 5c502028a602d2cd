"""A codec that remembers what it has encoded or decoded last.

A cluster that is written is soon written again: its controllers report on it, its user goes on. Then what its
stored bytes mean is at hand. The bytes themselves are the key, so whatever a rebalance or a recovery puts in
their place is decoded, and nothing has to be told to forget.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

V = TypeVar("V")

MAX_BYTES: Final = 16 * 1024 * 1024
"""Of encoded values that are remembered; decoded they take about four times as much."""


class HotCodec(Generic[V]):
    """Bytes ⇄ frozen values, whose encoding decodes to an equal value."""

    def __init__(
        self, decode: Callable[[bytes], V], encode: Callable[[V], bytes], *, max_bytes: int = MAX_BYTES
    ) -> None:
        self._decode = decode
        self._encode = encode
        self._values: OrderedDict[bytes, V] = OrderedDict()  # by their bytes, longest unused first
        self._room = max_bytes

    def decode(self, data: bytes) -> V:
        """The value of these bytes."""
        value = self._values.get(data)
        if value is None:
            return self._remembered(data, self._decode(data))
        self._values.move_to_end(data)
        return value

    def encode(self, value: V) -> bytes:
        """The bytes of a value."""
        data = self._encode(value)
        self._remembered(data, value)
        return data

    def _remembered(self, data: bytes, value: V) -> V:
        if data not in self._values:
            self._values[data] = value
            self._room -= len(data)
        while self._room < 0:
            forgotten, _ = self._values.popitem(last=False)
            self._room += len(forgotten)
        return value
