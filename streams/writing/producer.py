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
from streams.turns.lease import Lease
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


@cache  # asking for labels takes as long as counting
def _meters(topic: str) -> tuple[Counter, Histogram]:
    return PUBLISHED.labels(topic), PUBLISH_SECONDS.labels(topic)


# Seconds that a producer which is given up has for what others have appended to it.
STOP_WITHIN = 5.0


def _count(outputs: Sequence[Output], seconds: float) -> None:
    """Count records that were acknowledged after so many seconds."""
    topics = [output.topic for output in outputs]
    for topic in set(topics):  # a `Counter` takes four times as long for a few
        published, took = _meters(topic)
        published.inc(topics.count(topic))
        took.observe(seconds)


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
        places: Sequence[BatchSlot],
        started: float,
    ) -> None:
        self.outputs = outputs
        self._producer, self._inner, self._places, self._started = producer, inner, places, started

    async def wait(self) -> list[RecordPosition]:
        """Wait until all are acknowledged; returns where they are.

        Raises: what `Producer.publish` does, when none of them is on its way any more.
        """
        await all_done(self._futures())
        return await self._found()

    async def wait_for(self, seconds: float) -> list[RecordPosition] | None:
        """The same, but not for longer than so many seconds; None after that."""
        if not await all_done(self._futures(), self._producer._patience, seconds):
            return None
        return await self._found()

    def notify(self, acknowledged: Acknowledged) -> None:
        """Have somebody told of each part of them as soon as it is acknowledged."""
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
        """Where the records are; None for those that are not acknowledged."""
        return [positions_of([place])[0] if is_stored(place[0]) else None for place in self._places]

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
        return ages(self._inner._message_accumulator)

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has as far as this knows without asking; 0 when it does not know."""
        return 0 if self._inner is None else partition_counts(self._inner, {topic}).get(topic, 0)

    async def publish(
        self, outputs: Sequence[Output], *, acknowledged: Acknowledged | None = None
    ) -> list[RecordPosition]:
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
        sending = await self.begin(outputs)
        if acknowledged is not None:
            sending.notify(acknowledged)
        return await sending.wait()

    async def begin(self, outputs: Sequence[Output]) -> Sending:
        """Take records over to publish them; returns before they are acknowledged.

        Raises: what `publish` does; none of them was taken.
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
        noticed(connecting)

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
