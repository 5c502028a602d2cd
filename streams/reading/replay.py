"""A topic from its beginning up to given offsets, and what a changelog says there.

No consumer group and no end: a command looks at a topic as it is at one moment, while others write on.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from types import MappingProxyType, TracebackType
from typing import Final, Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from domain.errors import MalformedRecord, Unavailable
from streams.kafka.brokers import Brokers
from streams.kafka.timeouts import REQUEST_MS
from streams.reading.fetches import fetch_in_sessions, stop_consumer
from streams.settings import READ_COMMITTED, KafkaSettings
from streams.turns.claims import Claims

# Offsets by partition.
Offsets = Mapping[int, int]

BEGINNING: Final[Offsets] = MappingProxyType({})

# Seconds without a record, where there must be one, after which Kafka counts as away.
SILENCE: Final = 30.0

_POLL_MS: Final = 500
_POLL_RECORDS: Final = 2000


class Reader:
    """Reads topics, one after the other.

    Args:
        client_id: How the brokers' logs name it.
    """

    def __init__(self, kafka: KafkaSettings, *, client_id: str = "clusterflow-recovery") -> None:
        self._partitions = kafka.partitions
        self._consumer = AIOKafkaConsumer(
            **kafka.client(client_id),
            group_id=None,
            enable_auto_commit=False,
            isolation_level=READ_COMMITTED,
            auto_offset_reset="earliest",  # retention may take what is about to be read
            max_partition_fetch_bytes=4 * 1024 * 1024,
            fetch_max_wait_ms=20,  # at an end, a fetch that waits for more holds up what is asked next
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
        """Where each partition ends now: the offset of its next record."""
        places = [TopicPartition(topic, partition) for partition in range(self._partitions)]
        return {tp.partition: end for tp, end in (await self._consumer.end_offsets(places)).items()}

    async def batches(
        self, topic: str, *, to: Offsets, since: Offsets = BEGINNING
    ) -> AsyncIterator[Sequence[ConsumerRecord]]:
        """Records from `since` up to `to`, which is left out; each batch is of one partition, in its order.

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
    """The last record of a key that counts: where it is, and what is to be remembered of it."""

    partition: int
    offset: int
    said: str | None


class Changelog:
    """What a changelog holds up to some offsets, folded as agents, views and sink fold it.

    Memory is a place and a short text a key, never a record.

    Args:
        said: What to remember of a record; one on which it raises MalformedRecord is passed over, as its
            readers do.
    """

    def __init__(self, reader: Reader, topic: str, said: Callable[[ConsumerRecord], str | None]) -> None:
        self._reader = reader
        self._topic = topic
        self._said = said
        self._claims = Claims()
        self.last: dict[bytes, Last] = {}
        self.positions: Offsets = BEGINNING

    async def read_to(self, ends: Offsets) -> None:
        """Go on to these offsets. Raises: Unavailable."""
        async for records in self._reader.batches(self._topic, to=ends, since=self.positions):
            for record in records:
                if self._claims.admits(record):
                    self._fold(record)
        self.positions = ends

    async def read_to_end(self) -> None:
        """Go on to the present end. Raises: Unavailable."""
        await self.read_to(await self._reader.ends(self._topic))

    async def last_records(self) -> AsyncIterator[ConsumerRecord]:
        """The last record of each key, read once more."""
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
