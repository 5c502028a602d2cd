"""The one idempotent producer of a process: what it has published, the broker has acknowledged.

Faust's own producer is not idempotent outside its transactions and costs a future and a buffer per record
(docs/measured.md); this one hands a whole turn's outputs to aiokafka at once and waits for all of them.
"""

import asyncio
import logging
import time
from collections import Counter as CounterOf
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from aiokafka.structs import RecordMetadata
from prometheus_client import Counter, Histogram

from domain.errors import Unavailable, Unpublishable
from streams.lease import Lease
from streams.settings import KafkaSettings
from streams.topics import MAX_RECORD_BYTES

log = logging.getLogger("clusterflow.publisher")

PUBLISHED = Counter("clusterflow_kafka_messages_published_total", "Records acknowledged by Kafka", ["topic"])
PUBLISH_SECONDS = Histogram(
    "clusterflow_kafka_publish_duration_seconds",
    "Time until all records published together were acknowledged",
    ["topic"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

# How long a batch may wait for its acknowledgement before it counts as failed: longer than a broker's
# restart, so that a restart is ridden out by aiokafka's own retries, in order.
DELIVERY_TIMEOUT_MS = 60_000


@dataclass(frozen=True, slots=True)
class Output:
    """One record to publish; `partition` only where the key does not decide it. A value of None deletes."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, str] = field(default_factory=dict)
    partition: int | None = None


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
            "request_timeout_ms": DELIVERY_TIMEOUT_MS,
        }
        self._lease = lease
        self._inner: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect. Raises: KafkaError: no broker answers."""
        inner = AIOKafkaProducer(**self._settings)
        if self._lease is not None:
            self._lease.bind(inner.client)
        try:
            await inner.start()
        except BaseException:
            await inner.stop()
            raise
        self._inner = inner

    async def stop(self) -> None:
        """Send what is buffered, then disconnect."""
        if self._inner is not None:
            inner, self._inner = self._inner, None
            await inner.stop()

    async def publish(self, outputs: Sequence[Output]) -> list[RecordMetadata]:
        """Publish all of them; returns their positions once every one is acknowledged.

        Raises:
            Unavailable: some may not have been stored. Publishing all again is the remedy: readers drop
                repeats by their identity.
            Unpublishable: one is too large; no repeat will help.
        """
        if not outputs:
            return []
        started = time.perf_counter()
        try:
            if self._inner is None:
                await self.start()
            assert self._inner is not None
            send = self._inner.send
            pending = [
                await send(
                    output.topic,
                    key=output.key,
                    value=output.value,
                    partition=output.partition,
                    headers=[(name, text.encode()) for name, text in output.headers.items()],
                )
                for output in outputs
            ]
            positions = await asyncio.gather(*pending)
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            raise Unpublishable(repr(error)) from error
        except KafkaError as error:
            # An idempotent producer that lost a batch has a hole in its sequence: only a new one may go on.
            await self._discard()
            raise Unavailable(f"Kafka did not acknowledge {len(outputs)} records: {error!r}") from error
        for topic, count in CounterOf(output.topic for output in outputs).items():
            PUBLISHED.labels(topic).inc(count)
            PUBLISH_SECONDS.labels(topic).observe(time.perf_counter() - started)
        return positions

    async def _discard(self) -> None:
        inner, self._inner = self._inner, None
        if inner is None:
            return
        try:
            await asyncio.wait_for(inner.stop(), timeout=5)
        except (KafkaError, TimeoutError) as error:
            log.warning("discarded a producer that would not stop", extra={"error": repr(error)})
