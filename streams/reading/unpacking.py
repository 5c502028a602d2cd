"""Bounds the unpacked size of record batches, so that no record can exhaust the memory of a process.

A few kilobytes of zstd, gzip or lz4 can contain a gigabyte, and aiokafka unpacks a whole batch before it
returns the first record. Here a batch is unpacked into a buffer that grows up to `MAX_BATCH_BYTES` and no
further. If that is not enough, or a batch cannot be unpacked or cut into records at all, one record without
key and value replaces the batch at its last offset, with the reason in a header (`unreadable`). Agents and
sinks park that record, other readers skip it, and all of them continue after the batch.

A poll ends once the batches it has unpacked add up to `MAX_POLL_BYTES`. So a consumer holds at most one fetch
(`MAX_FETCH_BYTES`), the unpacked batches of one poll (`MAX_POLL_BYTES` and one batch more), and the buffer of
the batch that it is cutting into records. Written against aiokafka 0.14, to which pyproject.toml holds it
(docs/decisions/0006, 0012).
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiokafka.consumer.fetcher as fetching
import cramjam
from aiokafka import AIOKafkaConsumer
from aiokafka.codec import _detect_xerial_stream
from aiokafka.errors import KafkaError
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

MAX_BATCH_BYTES: Final = 32 * 1024 * 1024
"""The unpacked size of one batch at most: sixteen times the largest record accepted from outside."""

MAX_POLL_BYTES: Final = 8 * 1024 * 1024
"""The unpacked size of all batches of a poll after which it ends."""

UNREADABLE_HEADER: Final = "clusterflow_unreadable"

_FIRST_BUFFER_BYTES: Final = 64 * 1024
_BUFFER_GROWTH: Final = 4

# Kafka's record batch (magic 2): base offset, length, leader epoch, magic, CRC, attributes, delta of the last
# offset, first and last timestamp. Source: Kafka's documentation, "Record Batch".
_HEAD = struct.Struct(">qiibIhiqq")
_HEAD_BYTES: Final = 61  # with producer id and epoch, base sequence and the number of records
_LENGTH_AT: Final = 8
_BEFORE_LENGTH: Final = 12  # offset and length itself, which the length does not include
_MAGIC_AT: Final = 16
_ATTRIBUTES_AT: Final = 21
_CODEC: Final = 0x07
_LEGACY_ATTRIBUTES_AT: Final = 17

# The errors of cutting a batch into records, beside aiokafka's own: for bytes that are no UTF-8, and for
# sizes beyond the end.
_FAULTS: Final = (KafkaError, ValueError, IndexError, OverflowError, MemoryError, zlib.error, struct.error)


class TooLarge(ValueError):
    """A batch unpacks to more than it may."""


def unreadable(record: Any) -> str | None:
    """The reason in a record that replaces an unreadable batch; None for any other record."""
    if record.value is None and record.key is None:
        for name, value in record.headers:
            if name == UNREADABLE_HEADER:
                return str(value, "utf-8", "replace")
    return None


def bound_unpacking(consumer: AIOKafkaConsumer) -> None:
    """Make a started consumer unpack within bounds, and with it all that are started later."""
    fetching.MemoryRecords = Batches
    fetching.FetchResult = BoundedResult
    fetcher = consumer._fetcher
    fetched_records = fetcher.fetched_records

    async def fetched(*args: Any, **options: Any) -> Any:
        subscription = fetcher._subscriptions.subscription
        if subscription is not None and subscription.assignment is not None:
            subscription.assignment.unpacked = 0
        return await fetched_records(*args, **options)

    fetcher.fetched_records = fetched


class BoundedResult(fetching.FetchResult):  # aiokafka has no types
    """The fetched batches of a partition; a poll takes records from them up to its bound."""

    _partition_records: Any

    def getall(self, max_records: int | None = None) -> list[Any]:
        """The next records; none once the poll is full."""
        assignment = self._assignment
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        unpacked = getattr(assignment, "unpacked", None)
        if unpacked is None:  # another consumer of this process, which is not ours
            return super().getall(max_records)  # type: ignore[no-any-return]
        if unpacked >= MAX_POLL_BYTES:
            return []
        batches = self._partition_records._records
        batches.unpacked = 0
        taken: list[Any] = []
        for record in self._partition_records:
            taken.append(record)
            if len(taken) == max_records or unpacked + batches.unpacked >= MAX_POLL_BYTES:
                self._update_position()
                break
        else:
            self._update_position()
            self._partition_records = None
        assignment.unpacked = unpacked + batches.unpacked
        return taken


class Batches:
    """The batches of one partition in a fetch, with the interface of aiokafka's `MemoryRecords`.

    Attributes:
        unpacked: Unpacked bytes of batches since this was last set to zero.
    """

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._next = 0
        self._end = 0  # of the current batch; its beginning if the rest is incomplete
        self.unpacked = 0
        self._find()

    def size_in_bytes(self) -> int:
        """The bytes of all batches."""
        return len(self._data)

    def has_next(self) -> bool:
        """Whether there is another complete batch."""
        return self._end > self._next

    def next_batch(self) -> "FetchedBatch":
        """The next batch."""
        data, self._next = self._data[self._next : self._end], self._end
        self._find()
        return FetchedBatch(data, self)

    def _find(self) -> None:
        begin, left = self._next, len(self._data) - self._next
        if left > _MAGIC_AT:
            (length,) = struct.unpack_from(">i", self._data, begin + _LENGTH_AT)
            whole = _BEFORE_LENGTH + length
            if _MAGIC_AT < whole <= left:
                self._end = begin + whole


class FetchedBatch:
    """One batch: its records, or the one that replaces them if they cannot be read."""

    __slots__ = (
        "_batches",
        "_data",
        "_inner",
        "base_offset",
        "is_control_batch",
        "is_transactional",
        "next_offset",
        "producer_id",
    )

    def __init__(self, data: memoryview, batches: Batches) -> None:
        magic = data[_MAGIC_AT]
        inner = DefaultRecordBatch(data) if magic >= 2 else LegacyRecordBatch(data, magic)
        self._data = data
        self._batches = batches
        self._inner = inner
        (self.base_offset,) = struct.unpack_from(">q", data)
        self.next_offset = inner.next_offset
        self.producer_id = inner.producer_id
        self.is_control_batch = inner.is_control_batch
        self.is_transactional = inner.is_transactional

    def validate_crc(self) -> bool:
        """Whether the batch is intact."""
        return bool(self._inner.validate_crc())

    def __next__(self) -> Any:
        return next(self._inner)

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._readable()
        except TooLarge:
            most = MAX_BATCH_BYTES // 1024
            yield _StandIn.of(self, f"offsets {self._places} unpack to more than {most} KiB")
        except (*_FAULTS, cramjam.DecompressionError) as error:
            yield _StandIn.of(self, f"offsets {self._places} are no records: {type(error).__name__}")

    @property
    def _places(self) -> str:
        return f"{self.base_offset} to {self.next_offset - 1}"

    @property
    def timestamp(self) -> int:
        """The time of its last record in milliseconds since 1970; 0 for a batch of an old format."""
        return int(_HEAD.unpack_from(self._data)[8]) if self._data[_MAGIC_AT] >= 2 else 0

    def _readable(self) -> Any:
        """The batch for aiokafka to cut into records, unpacked before if it is compressed."""
        data = self._data
        if data[_MAGIC_AT] < 2:
            if data[_LEGACY_ATTRIBUTES_AT] & _CODEC:
                raise ValueError("packed in a format that brokers have not written since Kafka 0.11")
            return self._inner
        (attributes,) = struct.unpack_from(">h", data, _ATTRIBUTES_AT)
        codec = attributes & _CODEC
        if not codec:
            return self._inner
        if codec not in _CODECS:
            raise ValueError("packed by a codec that Kafka does not have")
        head = bytearray(data[:_HEAD_BYTES])
        struct.pack_into(">h", head, _ATTRIBUTES_AT, attributes & ~_CODEC)
        whole = _CODECS[codec](data[_HEAD_BYTES:], head)
        self._batches.unpacked += len(whole)
        return DefaultRecordBatch(whole)


@dataclass(frozen=True, slots=True)
class _StandIn:
    """The record that replaces a batch, in the form of a record that aiokafka takes from a batch."""

    offset: int
    timestamp: int
    headers: list[tuple[str, bytes]]
    timestamp_type: int = 1
    key: None = None
    value: None = None
    checksum: None = None

    @classmethod
    def of(cls, batch: FetchedBatch, why: str) -> "_StandIn":
        return cls(batch.next_offset - 1, batch.timestamp, [(UNREADABLE_HEADER, why.encode())])


# --- codecs: each unpacks after a head, up to the bound -------------------------------------------------


def _gunzip(packed: memoryview, head: bytearray) -> bytearray:
    """Unpack gzip (RFC 1952), one member after the other."""
    left: bytes | memoryview = packed
    while left:
        member = zlib.decompressobj(wbits=31)
        head += member.decompress(left, _room(head))
        if _room(head) == 0:
            raise TooLarge
        if not member.eof:
            raise zlib.error("cut short")
        left = member.unused_data
    return head


def _unsnap(packed: memoryview, head: bytearray) -> bytearray:
    """Unpack snappy. A block contains its length; Java's clients write several, each after its own length."""
    if not _detect_xerial_stream(packed):
        return head + _block(packed, head)
    at = 16
    while at < len(packed):
        (length,) = struct.unpack_from(">i", packed, at)
        if not 0 <= length <= len(packed) - at - 4:
            raise ValueError("a block reaches beyond the end")
        head += _block(packed[at + 4 : at + 4 + length], head)
        at += 4 + length
    return head


def _block(packed: memoryview, head: bytearray) -> bytes:
    if cramjam.snappy.decompress_raw_len(packed) >= _room(head):
        raise TooLarge
    return bytes(cramjam.snappy.decompress_raw(packed))


def _streamed(unpack_into: Callable[..., int]) -> Callable[[memoryview, bytearray], bytearray]:
    """Unpack codecs without a stated length: into a buffer, and into a larger one if that is too small."""

    def unpack(packed: memoryview, head: bytearray) -> bytearray:
        data, room = packed.tobytes(), _room(head) - 1
        size = min(room, max(_FIRST_BUFFER_BYTES, _BUFFER_GROWTH * len(data)))
        while True:
            buffer = bytearray(size)
            try:
                written = unpack_into(data, buffer)
            except cramjam.DecompressionError as error:
                if "write whole buffer" not in str(error):
                    raise
                if size == room:
                    raise TooLarge from None
                size = min(room, _BUFFER_GROWTH * size)
            else:
                head += memoryview(buffer)[:written]
                return head

    return unpack


def _room(head: bytearray) -> int:
    """How many bytes may still come, and one more, by which an excess is recognised."""
    return _HEAD_BYTES + MAX_BATCH_BYTES - len(head) + 1


_CODECS: Final[Mapping[int, Callable[[memoryview, bytearray], bytearray]]] = {
    1: _gunzip,
    2: _unsnap,
    3: _streamed(cramjam.lz4.decompress_into),
    4: _streamed(cramjam.zstd.decompress_into),
}
