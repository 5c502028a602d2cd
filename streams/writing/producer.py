"""The one idempotent producer of a process: when `publish` returns, the broker has acknowledged every record.

Theory of operation. A caller hands over a list of records, usually the outputs of a whole turn. They are
appended to aiokafka's batches, in their order and without waiting in between (`streams.writing.appending`),
so the order within each partition is the caller's. aiokafka sends the batches, retries them and numbers them,
so that the broker stores each record once. A `Sending` remembers for each record its batch and its number in
it. It waits for the batches, of which there are few, and computes each record's position from them.

If a batch fails for good, the sequence of an idempotent producer has a hole. So that aiokafka producer is
discarded, every waiting caller gets `Unavailable`, and the next one connects a new producer. Publishing
everything again is then the remedy, because readers drop repeats by their ids. A worker's producer is also
bound to the worker's lease, without which no record leaves the process (`streams.writing.lease`).

Faust's own producer is not used because it is not idempotent outside its transactions and costs a future and
a buffer per record (docs/measured.md). `AIOKafkaProducer.send` is not used because its coroutine, metadata
lookup and future cost more than the record itself. Written against aiokafka 0.14, to which pyproject.toml
holds it (docs/decisions/0006).
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    ProducerClosed,
    RecordListTooLargeError,
)
from prometheus_client import Counter, Histogram

from domain.errors import NotPermitted, Unavailable, Unpublishable
from streams.kafka.brokers import Brokers
from streams.kafka.rights import refusal
from streams.kafka.timeouts import REQUEST_MS
from streams.settings import KafkaSettings
from streams.topic import MAX_RECORD_BYTES
from streams.writing.appending import (
    Acknowledged,
    BatchSlot,
    ages,
    all_done,
    append_all,
    is_stored,
    noticed,
    notify_each,
    partition_counts,
    positions_of,
)
from streams.writing.lease import Lease
from streams.writing.outputs import Output, RecordPosition
from streams.writing.patience import Patience

log = logging.getLogger("clusterflow.publisher")

PUBLISHED = Counter("clusterflow_kafka_messages_published_total", "Records acknowledged by Kafka", ["topic"])
PUBLISH_SECONDS = Histogram(
    "clusterflow_kafka_publish_duration_seconds",
    "Time until all records published together were acknowledged",
    ["topic"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)


@cache  # looking labels up takes as long as counting
def _meters(topic: str) -> tuple[Counter, Histogram]:
    return PUBLISHED.labels(topic), PUBLISH_SECONDS.labels(topic)


# Seconds in which a discarded producer may still send what others have appended to it.
STOP_WITHIN = 5.0


def _count(outputs: Sequence[Output], seconds: float) -> None:
    """Count records that were acknowledged, and how long that took."""
    topics = [output.topic for output in outputs]
    for topic in set(topics):  # for few topics, a `Counter` takes four times as long
        published, took = _meters(topic)
        published.inc(topics.count(topic))
        took.observe(seconds)


class Sending:
    """Records that the producer has accepted in their order; each partition acknowledges its own.

    It serves callers that continue with the acknowledged records while the rest has to wait. A caller that
    stops waiting does not take any record back.
    """

    __slots__ = ("_inner", "_places", "_producer", "_started", "outputs")

    def __init__(
        self,
        producer: "Producer",
        inner: AIOKafkaProducer,
        outputs: Sequence[Output],
        places: Sequence[BatchSlot],
        started: float,
    ) -> None:
        self.outputs = outputs
        self._producer, self._inner, self._places, self._started = producer, inner, places, started

    async def wait(self) -> list[RecordPosition]:
        """Wait until all are acknowledged; return their positions.

        Raises: as `Producer.publish`, once none of them is on its way any more.
        """
        await all_done(self._futures())
        return await self._found()

    async def wait_for(self, seconds: float) -> list[RecordPosition] | None:
        """Wait for at most `seconds`; None if some are not acknowledged by then. Raises: as `wait`."""
        if not await all_done(self._futures(), self._producer._patience, seconds):
            return None
        return await self._found()

    def notify(self, acknowledged: Acknowledged) -> None:
        """Call `acknowledged` with each part of the records as soon as the broker has acknowledged it."""
        notify_each(self._places, acknowledged)

    def _futures(self) -> set[asyncio.Future[Any]]:
        return {batch.future for batch, _ in self._places}

    async def _found(self) -> list[RecordPosition]:
        try:
            positions = positions_of(self._places)
        except KafkaError as error:
            raise await self._producer._failure(self._inner, error, len(self.outputs)) from error
        _count(self.outputs, time.perf_counter() - self._started)
        return positions

    def acknowledged(self) -> list[RecordPosition | None]:
        """The positions of the records; None for those that are not acknowledged."""
        return [positions_of([place])[0] if is_stored(place[0]) else None for place in self._places]

    def part(self, begin: int, end: int) -> "Sending":
        """The records from index `begin` up to `end`, to be waited for alone."""
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
        """By topic and partition, the seconds that its oldest record has waited for its acknowledgement."""
        if self._inner is None:
            return {}
        return ages(self._inner._message_accumulator)

    def partitions(self, topic: str) -> int:
        """The partition count of a topic, as far as it is known without asking; 0 if it is not."""
        return 0 if self._inner is None else partition_counts(self._inner, {topic}).get(topic, 0)

    async def publish(
        self, outputs: Sequence[Output], *, acknowledged: Acknowledged | None = None
    ) -> list[RecordPosition]:
        """Publish all of them; return their positions once every one is acknowledged.

        Args:
            acknowledged: Called with each part of them before that, because a partition may have to wait for
                its leader while the others have theirs.

        Raises:
            Unavailable: some may not have been stored. Publishing all again is the remedy, because readers
                drop repeats by their ids.
            NotPermitted: the same, because a right is missing that the text names.
            Unpublishable: one is too large, and no repeat will help.
        """
        if not outputs:
            return []
        sending = await self.begin(outputs)
        if acknowledged is not None:
            sending.notify(acknowledged)
        return await sending.wait()

    async def begin(self, outputs: Sequence[Output]) -> Sending:
        """Accept records to publish; return before they are acknowledged.

        Raises: as `publish`; then none of them was accepted.
        """
        started = time.perf_counter()
        inner = None
        try:
            inner = await self._connected()
            return Sending(self, inner, outputs, await append_all(inner, outputs), started)
        except KafkaError as error:
            raise await self._failure(inner, error, len(outputs)) from error

    async def _failure(
        self, inner: AIOKafkaProducer | None, error: KafkaError, records: int
    ) -> Unavailable | Unpublishable:
        """The error that a failure means to the caller.

        An idempotent producer that lost a batch has a hole in its sequence, so a new one must replace it.
        """
        if inner is not None:
            await self._discard(inner)
        if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
            return Unpublishable(repr(error))
        if (lacking := refusal(error)) is not None:
            return NotPermitted(f"Kafka has refused {records} records: {lacking}")
        return Unavailable(f"Kafka did not acknowledge {records} records: {error!r}")

    async def _connected(self) -> AIOKafkaProducer:
        """The connected producer. All callers that need it meanwhile share one attempt and its failure."""
        if self._inner is not None:
            return self._inner
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._attempted)
        connecting = self._connecting
        await asyncio.wait([connecting])  # this does not cancel the attempt that others wait for
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
        noticed(connecting)

    async def _discard(self, inner: AIOKafkaProducer) -> None:
        """Make the next caller connect again; only the first caller of a failed producer does this."""
        if self._inner is inner:
            self._inner = None
            await _end(inner)


async def _end(inner: AIOKafkaProducer) -> None:
    try:
        await asyncio.wait_for(inner.stop(), STOP_WITHIN)
    except (KafkaError, TimeoutError) as error:
        log.warning("discarded a producer that would not stop", extra={"error": repr(error)})
    finally:  # after a stop that was cut short: the rest of the client, and callers that wait for batches
        ends = asyncio.gather(inner.client.close(), inner._sender.close(), return_exceptions=True)
        await asyncio.wait([ends], timeout=STOP_WITHIN)
        ends.cancel()
        inner._message_accumulator.fail_all(ProducerClosed())
