"""The one idempotent producer of a process: what it has published, the broker has acknowledged.

Faust's own producer is not idempotent outside its transactions and costs a future and a buffer per record
(docs/measured.md); this one hands a whole turn's outputs to aiokafka at once and waits for all of them.
Nor is `AIOKafkaProducer.send` used, which takes a coroutine, a look at the metadata and a future for each
record, more than the record itself: records are appended to aiokafka's batches, and these are waited for.
Batches, retries, sequence numbers and acknowledgements stay aiokafka's. Written against aiokafka 0.14,
to which pyproject.toml holds it (docs/decisions/0006).
"""

import asyncio
import logging
import time
from collections import Counter as CounterOf
from collections.abc import Callable, Mapping, Sequence, Set
from copy import copy
from functools import cache, partial
from types import MappingProxyType
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    ProducerClosed,
    RecordListTooLargeError,
)
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from prometheus_client import Counter, Histogram

from domain.errors import NotPermitted, Unavailable, Unpublishable
from streams.brokers import Brokers
from streams.lease import Lease
from streams.partitions import partition_of
from streams.patience import Patience
from streams.rights import refusal
from streams.settings import KafkaSettings
from streams.timeouts import KNOWN_WITHIN, REQUEST_MS
from streams.topics import MAX_RECORD_BYTES

log = logging.getLogger("clusterflow.publisher")

PUBLISHED = Counter("clusterflow_kafka_messages_published_total", "Records acknowledged by Kafka", ["topic"])
PUBLISH_SECONDS = Histogram(
    "clusterflow_kafka_publish_duration_seconds",
    "Time until all records published together were acknowledged",
    ["topic"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)


@cache  # asking for labels takes as long as counting
def _meters(topic: str) -> tuple[Counter, Histogram]:
    return PUBLISHED.labels(topic), PUBLISH_SECONDS.labels(topic)


# Seconds that a producer which is given up has for what others have appended to it.
STOP_WITHIN = 5.0


Headers = list[tuple[str, bytes | None]]


class Output(NamedTuple):
    """One record to publish; `partition` only where the key does not decide it. A value of None deletes.

    Attributes:
        original_headers: Those of a record that is passed on as it came, before ours.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, str] = MappingProxyType({})
    partition: int | None = None
    original_headers: Sequence[tuple[str, bytes | None]] = ()


def batch_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """What a batch of this record alone takes uncompressed, at most: what a topic's bound is held against."""
    return int(DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, headers))


class Position(NamedTuple):
    """Where a record is."""

    partition: int
    offset: int


Acknowledged = Callable[[Mapping[int, Position]], None]
"""Told of records as they are acknowledged: by their number in what is published, where they are."""


class Sending:
    """Records that the producer has taken over in their order; each partition acknowledges its own.

    For callers that go on with what is acknowledged while the rest has to wait: nothing is paid for it, and
    whoever stops waiting takes no record back.
    """

    __slots__ = ("_inner", "_places", "_producer", "_started", "outputs")

    def __init__(
        self,
        producer: "Producer",
        inner: AIOKafkaProducer,
        outputs: Sequence[Output],
        places: Sequence[tuple[Any, int]],
        started: float,
    ) -> None:
        self.outputs = outputs
        self._producer, self._inner, self._places, self._started = producer, inner, places, started

    async def wait(self, within: float | None = None) -> list[Position] | None:
        """Wait until all are acknowledged; returns where they are, or None after so many seconds.

        Raises: what `Producer.publish` does, when none of them is on its way any more.
        """
        futures = {batch.future for batch, _ in self._places}
        if not await _all_done(futures, self._producer._patience, within):
            return None
        try:
            positions = _positions(self._places)
        except KafkaError as error:
            raise await self._producer._failure(self._inner, error, len(self.outputs)) from error
        _count(self.outputs, time.perf_counter() - self._started)
        return positions

    def acknowledged(self) -> list[Position | None]:
        """Where the records are; None for those that are not acknowledged."""
        return [_positions([place])[0] if _stored(place[0]) else None for place in self._places]

    def part(self, begin: int, end: int) -> "Sending":
        """Some of them, from one number up to another, to be waited for alone."""
        outputs, places = self.outputs[begin:end], self._places[begin:end]
        return Sending(self._producer, self._inner, outputs, places, self._started)


class Producer:
    """Publishes in order per partition, each record once (`acks=all`, idempotent)."""

    def __init__(self, kafka: KafkaSettings, *, client_id: str, lease: Lease | None = None) -> None:
        self._settings = {
            **kafka.client(client_id),
            "enable_idempotence": True,
            "acks": "all",
            "linger_ms": 0,
            "max_batch_size": 256 * 1024,
            "max_request_size": MAX_RECORD_BYTES,
            "request_timeout_ms": REQUEST_MS,
        }
        self._lease = lease
        self._patience = Patience()
        self._inner: AIOKafkaProducer | None = None
        self._connecting: asyncio.Task[AIOKafkaProducer] | None = None

    async def start(self) -> None:
        """Connect. Raises: KafkaError: no broker answers."""
        await self._connected()

    async def stop(self) -> None:
        """Send what is buffered, then disconnect."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._inner is not None:
            inner, self._inner = self._inner, None
            await inner.stop()

    def waiting(self) -> Mapping[tuple[str, int], float]:
        """By topic and partition, for how many seconds its oldest record has waited to be acknowledged."""
        if self._inner is None:
            return {}
        return _ages(self._inner._message_accumulator)

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has as far as this knows without asking; 0 when it does not know."""
        return 0 if self._inner is None else _counts(self._inner, {topic}).get(topic, 0)

    async def publish(
        self, outputs: Sequence[Output], *, acknowledged: Acknowledged | None = None
    ) -> list[Position]:
        """Publish all of them; returns their positions once every one is acknowledged.

        Args:
            acknowledged: Told of each part of them before that: a partition may have to wait for its leader
                while the others have theirs.

        Raises:
            Unavailable: some may not have been stored. Publishing all again is the remedy: readers drop
                repeats by their identity.
            NotPermitted: the same, for want of a right that the text names.
            Unpublishable: one is too large; no repeat will help.
        """
        if not outputs:
            return []
        started = time.perf_counter()
        inner = None
        try:
            inner = await self._connected()
            positions = await _sent(inner, outputs, acknowledged)
        except KafkaError as error:
            raise await self._failure(inner, error, len(outputs)) from error
        _count(outputs, time.perf_counter() - started)
        return positions

    async def begin(self, outputs: Sequence[Output]) -> Sending:
        """Take records over to publish them; returns before they are acknowledged.

        Raises: what `publish` does; none of them was taken.
        """
        started = time.perf_counter()
        inner = None
        try:
            inner = await self._connected()
            return Sending(self, inner, outputs, await _appended(inner, outputs), started)
        except KafkaError as error:
            raise await self._failure(inner, error, len(outputs)) from error

    async def _failure(
        self, inner: AIOKafkaProducer | None, error: KafkaError, records: int
    ) -> Unavailable | Unpublishable:
        """What a failure means to whoever publishes.

        An idempotent producer that lost a batch has a hole in its sequence: only a new one may go on.
        """
        if inner is not None:
            await self._discard(inner)
        if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
            return Unpublishable(repr(error))
        if (lacking := refusal(error)) is not None:
            return NotPermitted(f"Kafka has refused {records} records: {lacking}")
        return Unavailable(f"Kafka did not acknowledge {records} records: {error!r}")

    async def _connected(self) -> AIOKafkaProducer:
        """The one that is connected; all who ask meanwhile wait for one attempt, and share its failure."""
        if self._inner is not None:
            return self._inner
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._attempted)
        connecting = self._connecting
        await asyncio.wait([connecting])  # which does not cancel it: others wait for the same attempt
        if connecting.cancelled():
            raise ProducerClosed
        return connecting.result()

    async def _connect(self) -> AIOKafkaProducer:
        inner = AIOKafkaProducer(**self._settings)
        Brokers(inner.client)
        if self._lease is not None:
            self._lease.bind(inner.client)
        try:
            await inner.start()
        except BaseException:
            await inner.stop()
            raise
        self._inner = inner
        return inner

    def _attempted(self, connecting: "asyncio.Task[AIOKafkaProducer]") -> None:
        self._connecting = None
        _noticed(connecting)

    async def _discard(self, inner: AIOKafkaProducer) -> None:
        """Have the next publisher connect anew; of all whom a failure reaches, the first sees to it."""
        if self._inner is inner:
            self._inner = None
            await _end(inner)


async def _end(inner: AIOKafkaProducer) -> None:
    try:
        await asyncio.wait_for(inner.stop(), STOP_WITHIN)
    except (KafkaError, TimeoutError) as error:
        log.warning("discarded a producer that would not stop", extra={"error": repr(error)})
    finally:  # what a stop that was cut short leaves, and who still waits for its batches
        ends = asyncio.gather(inner.client.close(), inner._sender.close(), return_exceptions=True)
        await asyncio.wait([ends], timeout=STOP_WITHIN)
        ends.cancel()
        inner._message_accumulator.fail_all(ProducerClosed())


# --- appending to aiokafka's batches ------------------------------------------------------------------


def _ages(accumulator: Any) -> Mapping[tuple[str, int], float]:
    """By topic and partition, the age of the oldest batch that is not acknowledged, in seconds."""
    batches = [*accumulator._pending_batches, *(pending[0] for pending in accumulator._batches.values())]
    now, ages = time.monotonic(), dict[tuple[str, int], float]()
    for batch in batches:
        age = now - batch._ctime
        ages[batch.tp] = max(age, ages.get(batch.tp, age))
    return ages


async def _sent(
    inner: AIOKafkaProducer, outputs: Sequence[Output], acknowledged: Acknowledged | None
) -> list[Position]:
    """Append records in their order; returns where they are once every one is acknowledged.

    Raises:
        KafkaError: some may not have been stored.
        Unpublishable: one is too large, and none was appended.
    """
    places = await _appended(inner, outputs)
    if acknowledged is not None:
        _tell_each(places, acknowledged)
    await _all_done({batch.future for batch, _ in places})
    return _positions(places)


async def _appended(inner: AIOKafkaProducer, outputs: Sequence[Output]) -> list[tuple[Any, int]]:
    """Append records in their order; returns each one's batch and its number in it.

    Raises:
        KafkaError: the brokers do not know the topics, or the producer was closed; none was appended.
        Unpublishable: one is too large, and none was appended.
    """
    accumulator = inner._message_accumulator
    records = [(output, _headers(output)) for output in outputs]
    for output, headers in records:
        if (size := batch_bytes(output.key, output.value, headers)) > inner._max_request_size:
            raise Unpublishable(f"a record of {size} bytes for {output.topic}")
    topics = {output.topic for output in outputs}
    counts = await _known(inner, topics)  # so nothing below has to wait
    if accumulator._closed:
        raise ProducerClosed
    if accumulator._exception is not None:
        raise copy(accumulator._exception)
    return [
        _append(accumulator, _place(inner, output, counts[output.topic]), output, headers)
        for output, headers in records
    ]


def _stored(batch: Any) -> bool:
    future = batch.future
    return future.done() and not future.cancelled() and future.exception() is None


def _positions(places: Sequence[tuple[Any, int]]) -> list[Position]:
    """Where records are. Raises: KafkaError: some may not have been stored."""
    return [Position(batch.tp.partition, batch.future.result().offset + number) for batch, number in places]


def _count(outputs: Sequence[Output], seconds: float) -> None:
    """Count records that were acknowledged after so many seconds."""
    for topic, count in CounterOf([output.topic for output in outputs]).items():
        published, took = _meters(topic)
        published.inc(count)
        took.observe(seconds)


def _tell_each(places: Sequence[tuple[Any, int]], acknowledged: Acknowledged) -> None:
    """Tell of the records of each batch when it is acknowledged."""
    records: dict[Any, dict[int, int]] = {}
    for index, (batch, number) in enumerate(places):
        records.setdefault(batch, {})[index] = number

    def tell(batch: Any, future: "asyncio.Future[Any]") -> None:
        if future.cancelled() or future.exception() is not None:
            return
        partition, offset = batch.tp.partition, future.result().offset
        acknowledged(
            {index: Position(partition, offset + number) for index, number in records[batch].items()}
        )

    for batch in records:
        batch.future.add_done_callback(partial(tell, batch))


async def _all_done(
    futures: Set["asyncio.Future[Any]"], patience: Patience | None = None, within: float | None = None
) -> bool:
    """Return once all are done, or the patience has ended after so many seconds, and whether all are.

    Cancelling it cancels none of them, for others wait for the same batches. `asyncio.wait` does so too, and
    takes three times as long.
    """
    ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    left = len(futures)

    def one_done(_: "asyncio.Future[Any]") -> None:
        nonlocal left
        left -= 1
        if not left and not ended.done():
            ended.set_result(True)

    for future in futures:
        future.add_done_callback(one_done)
    if patience is None or within is None:
        return await ended
    patience.begin(ended, within)
    try:
        return await ended
    finally:
        patience.end(ended)


async def _known(inner: AIOKafkaProducer, topics: Set[str]) -> Mapping[str, int]:
    """How many partitions each has, once those of all are known; what brings one's may lose another's.

    Raises: KafkaError: the brokers do not know one of them, or not all of them at once in time; whoever
        publishes need not have a deadline.
    """
    if len(known := _counts(inner, topics)) == len(topics):
        return known
    try:
        async with asyncio.timeout(KNOWN_WITHIN):
            while unknown := topics - known.keys():
                await inner.partitions_for(next(iter(unknown)))
                known = _counts(inner, topics)
    except TimeoutError:
        unknown = topics - known.keys()
        raise KafkaTimeoutError(f"partitions not known: {', '.join(sorted(unknown))}") from None
    return known


def _counts(inner: AIOKafkaProducer, topics: Set[str]) -> dict[str, int]:
    found = {topic: inner._metadata.partitions_for_topic(topic) for topic in topics}
    return {topic: len(partitions) for topic, partitions in found.items() if partitions is not None}


def _place(inner: AIOKafkaProducer, output: Output, partitions: int) -> TopicPartition:
    """Where an output goes; `partitions` is how many its topic has."""
    topic, key, partition = output.topic, output.key, output.partition
    if partition is None and key is not None:
        partition = partition_of(key, partitions)
    elif partition is None:  # a dead letter without a key may go to any
        partition = inner._partition(topic, None, None, None, None, None)
    return TopicPartition(topic, partition)


def _append(accumulator: Any, place: TopicPartition, output: Output, headers: Headers) -> tuple[Any, int]:
    """Append to the last batch of a partition, or to a new one; returns it and the record's number in it."""
    pending = accumulator._batches.get(place)
    batch = pending[-1] if pending else _new_batch(accumulator, place)
    while True:
        added = batch._builder.append(timestamp=None, key=output.key, value=output.value, headers=headers)
        if added is not None:
            return batch, added.offset
        batch = _new_batch(accumulator, place)  # full, or sent before and tried again


def _new_batch(accumulator: Any, place: TopicPartition) -> Any:
    batch = accumulator._append_batch(accumulator.create_builder(), place)
    batch.future.add_done_callback(_noticed)
    return batch


def _noticed(future: "asyncio.Future[Any]") -> None:
    """Take the exception of what was waited for by somebody who was cancelled and asks no more."""
    if not future.cancelled():
        future.exception()


def _headers(output: Output) -> Headers:
    own: Headers = [(name, text.encode()) for name, text in output.headers.items()]
    return [*output.original_headers, *own] if output.original_headers else own
