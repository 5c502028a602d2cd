"""A consumer without a group: follows every partition of some topics without owning any.

Views read their topics from the beginning, waits for results from the end.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from prometheus_client import Counter

from domain.errors import MalformedRecord, Unavailable
from streams.kafka.brokers import FAILURES, Brokers
from streams.kafka.metadata import MetadataRequest
from streams.kafka.timeouts import REQUEST_MS
from streams.reading.ends import ends_of
from streams.reading.fetches import fetch_in_sessions, stop_consumer
from streams.reading.unpacking import unreadable
from streams.settings import MAX_FETCH_BYTES, READ_COMMITTED, KafkaSettings

log = logging.getLogger("clusterflow.tail")

UNREADABLE = Counter("clusterflow_unreadable_records_total", "Records a tail passed over", ["topic"])

# Records handled before other tasks of the loop run.
_SLICE_RECORDS = 500

# Records of one poll, because a compressed batch may contain millions.
_POLL_RECORDS = 5000

# A probe waits in this many steps of this many seconds. A pause of the process uses up only one step.
_PROBE_STEPS = 20
_PROBE_STEP = 0.1


class Tail:
    """Follows topics and hands each record to its topic's handler, in partition order.

    Args:
        from_beginning, from_end: Handler per topic; a record on which it raises is logged and skipped.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        *,
        client_id: str,
        from_beginning: Mapping[str, Callable[[ConsumerRecord], object]] = MappingProxyType({}),
        from_end: Mapping[str, Callable[[ConsumerRecord], object]] = MappingProxyType({}),
    ) -> None:
        self._handlers = {**from_beginning, **from_end}
        self._from_beginning = from_beginning
        self._from_end = from_end
        self._ends: dict[TopicPartition, int] = {}
        self._waiting: dict[asyncio.Future[None], tuple[TopicPartition, int]] = {}
        self._handling = False  # whether a poll's records are still being handled
        self._consumer = AIOKafkaConsumer(
            **kafka.client(client_id),
            group_id=None,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_partition_fetch_bytes=MAX_FETCH_BYTES,
            fetch_max_bytes=MAX_FETCH_BYTES,
            request_timeout_ms=REQUEST_MS,
            isolation_level=READ_COMMITTED,
        )
        self._brokers = Brokers.of(self._consumer)
        self.caught_up = asyncio.Event()

    async def start(self) -> None:
        """Connect and take positions; records published from now on will be seen.

        Raises: KafkaError: no broker answers, or a topic is missing.
        """
        await self._consumer.start()
        fetch_in_sessions(self._consumer)
        olds = [tp for topic in self._from_beginning for tp in await self._partitions(topic)]
        news = [tp for topic in self._from_end for tp in await self._partitions(topic)]
        self._consumer.assign([*olds, *news])
        ends = await self._consumer.end_offsets([*olds, *news])
        beginnings = await self._consumer.beginning_offsets(olds) if olds else {}
        for tp in olds:
            self._consumer.seek(tp, beginnings[tp])
        for tp in news:
            self._consumer.seek(tp, ends[tp])
        self._ends = {tp: ends[tp] for tp in olds if ends[tp] > beginnings[tp]}
        await self._check_caught_up()

    async def stop(self) -> None:
        """Disconnect."""
        await stop_consumer(self._consumer)

    @property
    def consumer(self) -> AIOKafkaConsumer:
        """The aiokafka consumer, for `streams.kafka.held`."""
        return self._consumer

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            polled = await self._consumer.getmany(timeout_ms=1000, max_records=_POLL_RECORDS)
            self._handling = True
            for tp, records in polled.items():
                handle = self._handlers[tp.topic]
                for start in range(0, len(records), _SLICE_RECORDS):
                    for record in records[start : start + _SLICE_RECORDS]:
                        _handled(handle, record)
                    if len(records) > _SLICE_RECORDS:
                        await asyncio.sleep(0)
            self._handling = False
            if self._waiting:
                await self._wake_waiting()
            if not self.caught_up.is_set():
                await self._check_caught_up()

    async def ends(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Where partitions end now. Raises: KafkaError."""
        return await ends_of(self._consumer._client, partitions)

    async def reached(self, tp: TopicPartition, offset: int) -> None:
        """Wait until all records of a followed partition before this offset have been handled."""
        if not self._handling and await self._consumer.position(tp) >= offset and not self._handling:
            return
        handled = asyncio.get_running_loop().create_future()
        self._waiting[handled] = tp, offset
        try:
            await handled
        finally:
            del self._waiting[handled]

    async def _wake_waiting(self) -> None:
        for handled, (tp, offset) in [*self._waiting.items()]:
            if not handled.done() and await self._consumer.position(tp) >= offset:
                handled.set_result(None)

    async def probe(self) -> None:
        """Ask the brokers until one answers, again if an attempt fails.

        Raises: Unavailable: none answered within two seconds. A pause of this process does not count, because
            answers that came meanwhile are not read yet. After a pause the connection may be gone, so that
            the first attempt fails.
        """
        if not self._consumer.assignment():
            raise Unavailable("No partition is followed yet")
        failure: Exception | None = None
        asked = asyncio.create_task(self._brokers.ask(MetadataRequest([])))
        try:
            for _ in range(_PROBE_STEPS):
                await asyncio.wait({asked}, timeout=_PROBE_STEP)
                if not asked.done():
                    continue
                try:
                    asked.result()
                except FAILURES as error:
                    failure = error
                    await asyncio.sleep(_PROBE_STEP)
                    asked = asyncio.create_task(self._brokers.ask(MetadataRequest([])))
                else:
                    return
        finally:
            asked.cancel()
        raise Unavailable("Kafka did not answer in time" if failure is None else f"Kafka failed: {failure!r}")

    def unreachable(self) -> frozenset[tuple[str, int]]:
        """The followed partitions whose leader does not answer, by topic and number."""
        return self._brokers.unreachable(self._consumer.assignment())

    async def _check_caught_up(self) -> None:
        # By position: the last offset before the end need not be a record (a transaction's marker, a
        # tombstone that compaction took away).
        for tp in [*self._ends]:
            if await self._consumer.position(tp) >= self._ends[tp]:
                del self._ends[tp]
        if not self._ends:
            self.caught_up.set()

    async def _partitions(self, topic: str) -> list[TopicPartition]:
        partitions = self._consumer.partitions_for_topic(topic)
        if not partitions:
            await self._consumer._client.force_metadata_update()
            partitions = await self._consumer._client._wait_on_metadata(topic)
        return [TopicPartition(topic, partition) for partition in sorted(partitions)]


def _handled(handle: Callable[[ConsumerRecord], object], record: ConsumerRecord) -> None:
    """Handle a record; one that cannot be read must not stop a process from following all others."""
    try:
        if (why := unreadable(record)) is not None:
            raise MalformedRecord("unreadable", why)
        handle(record)
    except Exception:
        UNREADABLE.labels(record.topic).inc()
        log.exception(
            "record passed over",
            extra={"topic": record.topic, "partition": record.partition, "offset": record.offset},
        )
