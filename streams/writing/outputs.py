"""Records on their way to Kafka, and their positions afterwards."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from aiokafka.record.default_records import DefaultRecordBatchBuilder

Headers = list[tuple[str, bytes | None]]


class Output(NamedTuple):
    """One record to publish. A value of None is a tombstone.

    Attributes:
        partition: Only for records whose partition does not follow from their key.
        leading_headers: Headers before these; they may repeat a name, as those of a forwarded record do.
        beforehand: Whether it must be in its log before the other outputs of its turn are.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, str] = MappingProxyType({})
    partition: int | None = None
    leading_headers: Sequence[tuple[str, bytes | None]] = ()
    beforehand: bool = False


def batch_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """An upper bound for the uncompressed batch of this record alone, to compare with a topic's limit."""
    return int(DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, headers))


class RecordPosition(NamedTuple):
    """The position of a record."""

    partition: int
    offset: int


def wire_headers(output: Output) -> Headers:
    """The headers of a record as they are sent."""
    own: Headers = [(name, text.encode()) for name, text in output.headers.items()]
    return [*output.leading_headers, *own] if output.leading_headers else own
