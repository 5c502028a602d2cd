"""How records become rows: everything that the sink's machinery knows about a kind.

Each topic that the sink reads has one mapping, which decodes its records and writes their rows. The machinery
around it is the same for all: `sinks.batch` reads records, follows claims and parks unreadable records.
`sinks.postgres` opens the transaction, moves the positions and calls each mapping with its share of the
batch.

There are two sorts of topics. A changelog holds the states of a kind. Its records count only under the
current claim, and a row belongs to a key, so it must be removed once the changelog no longer holds the key.
In any other topic every record counts, and its rows are kept.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import asyncpg
import msgspec
from aiokafka import ConsumerRecord

from domain.errors import MalformedRecord
from streams.claims import NO_CLAIM
from streams.json import from_millis
from streams.kafka.partitions import partition_of
from streams.reading.unpacking import unreadable

T = TypeVar("T")

_LAST_MILLIS: Final = 253_402_300_799_000  # the end of the year 9999


class Change(NamedTuple):
    """A record and its decoded content.

    Attributes:
        content: The value that its mapping has decoded, which only the mapping understands. None if only the
            record's offset counts, because it changes no row, was parked, is a claim, or is of a zombie.
        claim: The current claim in its partition after it (`streams.claims`).
    """

    record: ConsumerRecord
    content: Any
    claim: int = NO_CLAIM


class PartitionKeys(NamedTuple):
    """The keys that one partition of a changelog holds.

    Attributes:
        partitions: The partition count of the topic.
    """

    partition: int
    partitions: int
    known: Collection[bytes]

    def owns(self, key: bytes) -> bool:
        """Whether records of this key are in this partition."""
        return partition_of(key, self.partitions) == self.partition


class RowMapping(Protocol):
    """How the records of one topic become rows."""

    @property
    def topic(self) -> str:
        """The topic, with the deployment's prefix."""

    @property
    def transient(self) -> Collection[str]:
        """Constraints that valid records violate for a while, as partitions are read at different speeds.

        After such a refusal the batch is written again, and `write` is asked to make room.
        """

    def read(self, record: ConsumerRecord) -> Any:
        """Decode a record, checked as far as columns need it; None if it changes no row.

        Raises: MalformedRecord: `bad_key` or `invalid_schema`.
        """

    async def write(
        self, connection: asyncpg.Connection, changes: Sequence[Change], *, make_room: bool
    ) -> Mapping[str, int]:
        """Write the contents of records of the topic, in offset order; return the number of rows by table.

        Args:
            connection: A connection in the transaction that moves the positions past these records.
        """


class ChangelogMapping(RowMapping, Protocol):
    """How the states in a changelog become rows."""

    async def may_vanish(self, connection: asyncpg.Connection, partition: int) -> bool:
        """Whether there may be rows of this partition that must be removed with their keys."""

    async def remove_vanished(self, connection: asyncpg.Connection, keys: PartitionKeys) -> int:
        """Remove the rows of a partition whose keys it no longer holds; return how many there were."""


class Mappings:
    """Every mapping of a sink, by the topic that it reads.

    Args:
        changelogs: Mappings of changelogs.
        others: Mappings of topics without claims and tombstones.

    Attributes:
        changelogs: The mappings of changelogs by topic.
    """

    def __init__(self, changelogs: Iterable[ChangelogMapping], others: Iterable[RowMapping] = ()) -> None:
        self.changelogs = {mapping.topic: mapping for mapping in changelogs}
        self._by_topic: dict[str, RowMapping] = {
            **self.changelogs,
            **{mapping.topic: mapping for mapping in others},
        }

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics to read."""
        return tuple(self._by_topic)

    def read(self, record: ConsumerRecord) -> Any:
        """The content of a record; None if it changes no row. Raises: MalformedRecord."""
        if (why := unreadable(record)) is not None:
            raise MalformedRecord("unreadable", why)
        return self._by_topic[record.topic].read(record)

    def is_transient(self, constraint: str | None) -> bool:
        """Whether a refusal by this constraint may pass once the mappings make room."""
        return any(constraint in mapping.transient for mapping in self._by_topic.values())

    async def write(
        self, connection: asyncpg.Connection, changes: Iterable[Change], *, make_room: bool
    ) -> Mapping[str, int]:
        """Let each mapping write its share of the changes; return the number of rows by table."""
        shares: dict[str, list[Change]] = {topic: [] for topic in self._by_topic}
        for change in changes:
            if change.content is not None:
                shares[change.record.topic].append(change)
        sent: Counter[str] = Counter()
        for topic, mapping in self._by_topic.items():  # a fixed order, against deadlocks of writers
            if share := shares[topic]:
                sent.update(await mapping.write(connection, share, make_room=make_room))
        return sent


# --- shared by mappings -----------------------------------------------------------------------------


def decoded(record: ConsumerRecord, decode: Callable[[bytes], T]) -> T:
    """Decode the value of a record. Raises: MalformedRecord: `invalid_schema`."""
    value = record.value or b""
    try:
        str(value, "utf-8")  # raises for parts that are copied undecoded and are no text
        return decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedRecord("invalid_schema", str(error)) from error


def written_at(record: ConsumerRecord) -> datetime:
    """The time of a record; for an impossible one, the nearest time that a column can hold."""
    return from_millis(min(max(record.timestamp, 0), _LAST_MILLIS))


def text_of(json: msgspec.Raw) -> str:
    """JSON exactly as in the record."""
    return str(json, "utf-8")


def columns_of(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows as one array per column; none without rows."""
    return list(zip(*rows, strict=True))
