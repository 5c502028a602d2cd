"""Records on their way to Kafka, and where they are afterwards."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from aiokafka.record.default_records import DefaultRecordBatchBuilder

Headers = list[tuple[str, bytes | None]]


class Output(NamedTuple):
    """One record to publish; `partition` only where the key does not decide it. A value of None deletes.

    Attributes:
        original_headers: Those of a record that is passed on as it came, before ours.
        beforehand: Whether it must be in its log before the other outputs of its turn are.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, str] = MappingProxyType({})
    partition: int | None = None
    original_headers: Sequence[tuple[str, bytes | None]] = ()
    beforehand: bool = False


def batch_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """What a batch of this record alone takes uncompressed, at most: what a topic's bound is held against."""
    return int(DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, headers))


class RecordPosition(NamedTuple):
    """Where a record is."""

    partition: int
    offset: int


def wire_headers(output: Output) -> Headers:
    """The headers that a record goes with."""
    own: Headers = [(name, text.encode()) for name, text in output.headers.items()]
    return [*output.original_headers, *own] if output.original_headers else own
