"""How records become rows: all that the sink's machinery knows of a kind.

Each topic that the sink reads has one mapping, which reads its records and writes what they say. The
machinery around it is the same for all: `sinks.batch` takes records, counts claims and parks what cannot be
read; `sinks.postgres` opens the transaction, moves the positions and has each mapping write its share of the
batch.

There are two sorts of topics. A changelog holds the states of a kind: its records count only under the claim
that stands, and a row belongs to a key, so it must go when the changelog does not hold the key any more. Of
any other topic every record counts, and its rows stay.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import asyncpg
import msgspec
from aiokafka import ConsumerRecord

from domain.errors import MalformedRecord
from streams.json import from_millis
from streams.kafka.partitions import partition_of
from streams.reading.unpacking import unreadable
from streams.turns.claims import NO_CLAIM

T = TypeVar("T")

_LAST_MILLIS: Final = 253_402_300_799_000  # the end of the year 9999


class Change(NamedTuple):
    """A record and what it says.

    Attributes:
        content: What its mapping has read, known to the mapping alone. None if only the record's offset
            counts: it says nothing of a row, was parked as a dead letter, or is a claim or a zombie's.
        claim: The claim that stands in its partition after it (`streams.turns.claims`).
    """

    record: ConsumerRecord
    content: Any
    claim: int = NO_CLAIM


class PartitionKeys(NamedTuple):
    """The keys that one partition of a changelog holds.

    Attributes:
        partitions: How many partitions the topic has.
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
        """Constraints that valid records violate for a while, as partitions are read at different paces.

        After such a refusal the batch is written again, and `write` is asked to make room.
        """

    def read(self, record: ConsumerRecord) -> Any:
        """What a record says, checked as far as columns need it; None if it says nothing of any row.

        Raises: MalformedRecord: `bad_key` or `invalid_schema`.
        """

    async def write(
        self, connection: asyncpg.Connection, changes: Sequence[Change], *, make_room: bool
    ) -> Mapping[str, int]:
        """Write what records of the topic say, given in offset order; returns the rows sent, by table.

        Args:
            connection: In the transaction that moves the positions past these records.
        """


class ChangelogMapping(RowMapping, Protocol):
    """How the states in a changelog become rows."""

    async def may_vanish(self, connection: asyncpg.Connection, partition: int) -> bool:
        """Whether there are rows, maybe of this partition, that go with their keys."""

    async def remove_vanished(self, connection: asyncpg.Connection, keys: PartitionKeys) -> int:
        """Remove the rows of a partition whose keys it does not know; returns how many there were."""


class Mappings:
    """Every mapping of a sink, by the topic that it reads.

    Args:
        changelogs: Mappings of changelogs.
        others: Mappings of topics without claims and tombstones.

    Attributes:
        changelogs: The former by topic.
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
        """What a record says; None if nothing. Raises: MalformedRecord."""
        if (why := unreadable(record)) is not None:
            raise MalformedRecord("unreadable", why)
        return self._by_topic[record.topic].read(record)

    def is_transient(self, constraint: str | None) -> bool:
        """Whether a refusal by this constraint may pass once the mappings make room."""
        return any(constraint in mapping.transient for mapping in self._by_topic.values())

    async def write(
        self, connection: asyncpg.Connection, changes: Iterable[Change], *, make_room: bool
    ) -> Mapping[str, int]:
        """Have each mapping write its share of the changes; returns the rows sent, by table."""
        shares: dict[str, list[Change]] = {topic: [] for topic in self._by_topic}
        for change in changes:
            if change.content is not None:
                shares[change.record.topic].append(change)
        sent: Counter[str] = Counter()
        for topic, mapping in self._by_topic.items():  # two writers that meet write tables in the same order
            if share := shares[topic]:
                sent.update(await mapping.write(connection, share, make_room=make_room))
        return sent


# --- what mappings share ----------------------------------------------------------------------------


def decoded(record: ConsumerRecord, decode: Callable[[bytes], T]) -> T:
    """The value of a record. Raises: MalformedRecord: `invalid_schema`."""
    value = record.value or b""
    try:
        str(value, "utf-8")  # what is taken over as it is has to be text, too
        return decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedRecord("invalid_schema", str(error)) from error


def written_at(record: ConsumerRecord) -> datetime:
    """When a record was written, by its own time; the nearest that a column holds for one that never was."""
    return from_millis(min(max(record.timestamp, 0), _LAST_MILLIS))


def text_of(json: msgspec.Raw) -> str:
    """JSON as it stands in the record."""
    return str(json, "utf-8")


def columns_of(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows as one array per column; none without rows."""
    return list(zip(*rows, strict=True))
