"""Reads a topic from its beginning up to given offsets, and folds a changelog there.

There is no consumer group. A command sees a topic as it is at one moment, while others keep writing.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from types import MappingProxyType, TracebackType
from typing import Final, Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from domain.errors import MalformedRecord, Unavailable
from streams.claims import Claims
from streams.kafka.brokers import Brokers
from streams.kafka.timeouts import REQUEST_MS
from streams.reading.fetches import fetch_in_sessions, stop_consumer
from streams.settings import READ_COMMITTED, KafkaSettings

# Offsets by partition.
Offsets = Mapping[int, int]

BEGINNING: Final[Offsets] = MappingProxyType({})

# Seconds without a record, although there must be one, after which Kafka counts as away.
SILENCE: Final = 30.0

_POLL_MS: Final = 500
_POLL_RECORDS: Final = 2000


class Reader:
    """Reads topics, one after the other.

    Args:
        client_id: Its name in the brokers' logs.
    """

    def __init__(self, kafka: KafkaSettings, *, client_id: str = "clusterflow-recovery") -> None:
        self._partitions = kafka.partitions
        self._consumer = AIOKafkaConsumer(
            **kafka.client(client_id),
            group_id=None,
            enable_auto_commit=False,
            isolation_level=READ_COMMITTED,
            auto_offset_reset="earliest",  # retention may remove the records that are read next
            max_partition_fetch_bytes=4 * 1024 * 1024,
            fetch_max_wait_ms=20,  # at an end, a fetch that waits for more records delays the next request
            request_timeout_ms=REQUEST_MS,
        )
        Brokers.of(self._consumer)

    async def __aenter__(self) -> Self:
        """Connect. Raises: KafkaError: no broker answers."""
        try:
            await self._consumer.start()
            fetch_in_sessions(self._consumer)
        except BaseException:
            await stop_consumer(self._consumer)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await stop_consumer(self._consumer)

    async def ends(self, topic: str) -> dict[int, int]:
        """The present end of each partition: the offset of its next record."""
        places = [TopicPartition(topic, partition) for partition in range(self._partitions)]
        return {tp.partition: end for tp, end in (await self._consumer.end_offsets(places)).items()}

    async def batches(
        self, topic: str, *, to: Offsets, since: Offsets = BEGINNING
    ) -> AsyncIterator[Sequence[ConsumerRecord]]:
        """Records from `since` up to `to`, exclusive; each batch is of one partition, in its order.

        Raises: Unavailable: nothing came for `SILENCE` seconds.
        """
        ends = {TopicPartition(topic, partition): end for partition, end in to.items()}
        self._consumer.assign(list(ends))
        for tp, beginning in (await self._consumer.beginning_offsets(list(ends))).items():
            self._consumer.seek(tp, max(beginning, since.get(tp.partition, 0)))
        heard = monotonic()
        # By position: the last offset before the end need not be a record.
        while left := [tp for tp, end in ends.items() if await self._consumer.position(tp) < end]:
            polled = await self._consumer.getmany(*left, timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
            if polled:
                heard = monotonic()
            elif monotonic() - heard > SILENCE:
                raise Unavailable(f"Kafka has sent nothing of {topic} for {SILENCE:.0f} s")
            for tp, records in polled.items():
                yield [record for record in records if record.offset < ends[tp]]


@dataclass(frozen=True, slots=True)
class Last:
    """The last record of a key that counts: its position, and the text to remember of it."""

    partition: int
    offset: int
    said: str | None


class Changelog:
    """The content of a changelog up to some offsets, folded in the same way as agents, views and sink do.

    It keeps a position and a short text for each key, never a record.

    Args:
        said: Returns the text to remember of a record. If it raises MalformedRecord, the record is skipped,
            as other readers do.
    """

    def __init__(self, reader: Reader, topic: str, said: Callable[[ConsumerRecord], str | None]) -> None:
        self._reader = reader
        self._topic = topic
        self._said = said
        self._claims = Claims()
        self.last: dict[bytes, Last] = {}
        self.positions: Offsets = BEGINNING

    async def read_to(self, ends: Offsets) -> None:
        """Read on to these offsets. Raises: Unavailable."""
        async for records in self._reader.batches(self._topic, to=ends, since=self.positions):
            for record in records:
                if self._claims.admits(record):
                    self._fold(record)
        self.positions = ends

    async def read_to_end(self) -> None:
        """Read on to the present end. Raises: Unavailable."""
        await self.read_to(await self._reader.ends(self._topic))

    async def last_records(self) -> AsyncIterator[ConsumerRecord]:
        """The last record of each key, read again."""
        async for records in self._reader.batches(self._topic, to=self.positions):
            for record in records:
                last = self.last.get(record.key)
                if last is not None and (last.partition, last.offset) == (record.partition, record.offset):
                    yield record

    def _fold(self, record: ConsumerRecord) -> None:
        try:
            said = self._said(record)
        except MalformedRecord:
            return
        if record.value is None:
            self.last.pop(record.key, None)
        else:
            self.last[record.key] = Last(record.partition, record.offset, said)
