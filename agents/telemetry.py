"""Takes the metrics out of events that nodes publish on `cluster-events` (operations contract, 8 and 9).

Nodes send telemetry in events of any type, in the original's spellings. What such an event holds becomes
commands to the agent of samples; nothing else that a foreign event says is believed. This is a listener and
no agent: it has no table, so it is a plain member of a group, and our own events cost it next to nothing.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.errors import KafkaError
from msgspec import Struct
from prometheus_client import Counter

from domain.errors import TransientError
from domain.ids import deterministic_id
from domain.measures import MEASURED
from domain.samples import MOST_AT_ONCE, Add, Given, Tell
from streams.flow import Flow
from streams.headers import FOLLOWED
from streams.reading.fetches import fetch_in_sessions, stop_consumer
from streams.samples import FLOW
from streams.settings import TELEMETRY_GROUP, KafkaSettings
from streams.writing.outputs import Output
from streams.writing.producer import Producer

log = logging.getLogger("clusterflow.telemetry")

POLL_MS: Final = 500
TRY_AGAIN_AFTER: Final = 1.0

EVENTS: Final = Counter("clustergenie_events_total", "Foreign events that were read", ["type", "result"])
DROPPED: Final = Counter("clusterflow_samples_dropped_total", "Metrics in foreign events that are none")

EXCEEDED: Final = ("metric.threshold_exceeded", "metric_threshold_exceeded")

KNOWN: Final[Mapping[str, str]] = {"telemetry": "telemetry", **dict.fromkeys(EXCEEDED, EXCEEDED[0])}
"""Types that are counted by their names, in either spelling; all others together."""

OURS: Final = frozenset({"aggregate_version", "generation"})
"""Headers of our own events. A stranger's event with one of them is passed over, which harms nobody else."""


class _Metrics(Struct):
    metrics: Any = None
    cpu: Any = None
    memory: Any = None
    disk: Any = None
    network: Any = None


class _Event(_Metrics):
    type: str = ""
    event_id: Any = None
    cluster_id: Any = None
    payload: Any = None


_read: Final = msgspec.json.Decoder(_Event).decode


def commands_of(record: ConsumerRecord) -> list[Add | Tell]:
    """What a foreign event asks of the agent of samples, under ids that are the same each time it comes."""
    try:
        event = _read(record.value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        EVENTS.labels("other", "malformed").inc()
        return []
    try:
        found = list(_asked(event, record))
    except msgspec.ValidationError:  # no cluster is called so
        EVENTS.labels(KNOWN.get(event.type, "other"), "malformed").inc()
        return []
    EVENTS.labels(KNOWN.get(event.type, "other"), "taken" if found else "ignored").inc()
    return found


def _asked(event: _Event, record: ConsumerRecord) -> Iterator[Add | Tell]:
    named = isinstance(event.event_id, str) and 0 < len(event.event_id) <= 100
    cause = (event.event_id,) if named else (record.topic, record.partition, record.offset)
    if not isinstance(event.cluster_id, str):
        return
    samples = list(_samples(event))
    for number, start in enumerate(range(0, len(samples), MOST_AT_ONCE)):
        id = deterministic_id("telemetry", *cause, number)
        some = tuple(samples[start : start + MOST_AT_ONCE])
        yield _checked(Add(id=event.cluster_id, command_id=id, samples=some))
    if event.type in EXCEEDED:
        yield _checked(Tell(id=event.cluster_id, command_id=deterministic_id("exceeded", *cause)))


def _checked(command: Add | Tell) -> Add | Tell:
    """A command as it will be read. Raises: ValidationError: it could not be."""
    return msgspec.convert(msgspec.to_builtins(command), type(command))


def _samples(event: _Event) -> Iterator[Given]:
    """The metrics of an event, at its top or in its payload; what is none is dropped and counted."""
    inner = msgspec.convert(event.payload, _Metrics) if isinstance(event.payload, dict) else _Metrics()
    for given in (event, inner):
        if isinstance(given.metrics, list):
            yield from filter(None, map(_listed, given.metrics))
            return
        single = {type_: value for type_ in MEASURED if (value := getattr(given, type_)) is not None}
        if single:
            yield from filter(None, (_single(type_, value) for type_, value in single.items()))
            return


def _listed(item: Any) -> Given | None:
    if not isinstance(item, dict):
        DROPPED.inc()
        return None
    known = {name: item[name] for name in ("type", "value", "unit") if item.get(name) is not None}
    return _given({**known, **_moment(item.get("timestamp"))})


def _single(type_: str, value: Any) -> Given | None:
    """A member such as `cpu`, whose value is a number or the text of one."""
    try:
        value = float(value) if isinstance(value, str) and len(value) <= 50 else value
    except ValueError:
        DROPPED.inc()
        return None
    return _given({"type": type_, "value": value})


def _given(members: dict[str, Any]) -> Given | None:
    try:
        return msgspec.convert(members, Given)
    except msgspec.ValidationError:
        DROPPED.inc()
        return None


def _moment(text: Any) -> dict[str, datetime]:
    """The member `timestamp`, unless it cannot be read; the sample is then of when its event came."""
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return {}
    return {"timestamp": moment} if moment.tzinfo is not None else {}


class Listener:
    """Follows the topic of events."""

    def __init__(self, kafka: KafkaSettings, consumer: AIOKafkaConsumer, producer: Producer) -> None:
        self.consumer = consumer
        self._producer = producer
        self._flow: Flow[Any, Any, Any] = FLOW.deployed(kafka.topics.of)

    async def run(self) -> None:
        """Listen until cancelled. What is read twice after a crash leads to the same commands."""
        while True:
            polled = await self.consumer.getmany(timeout_ms=POLL_MS)
            outputs = [output for records in polled.values() for each in records for output in self._of(each)]
            if outputs:
                await self._publish(outputs)
            if polled:
                await self._commit()

    def _of(self, record: ConsumerRecord) -> list[Output]:
        if any(name in OURS for name, _ in record.headers):
            return []
        return [self._flow.command(command, FOLLOWED) for command in commands_of(record)]

    async def _publish(self, outputs: list[Output]) -> None:
        while True:
            try:
                await self._producer.publish(outputs)
            except TransientError as error:
                log.info("telemetry waits", extra={"error": repr(error)})
                await asyncio.sleep(error.retry_after)
            else:
                return

    async def _commit(self) -> None:
        try:
            await self.consumer.commit()
        except KafkaError as error:  # it is read again
            log.info("positions not committed", extra={"error": repr(error)})


async def listen(kafka: KafkaSettings) -> None:
    """Listen until cancelled. Whatever goes wrong with it must not end the worker, which decides commands."""
    while True:
        try:
            async with listening(kafka) as listener:
                await listener.run()
        except (KafkaError, OSError, TransientError) as error:
            log.warning("telemetry is not read now", extra={"error": repr(error)})
            await asyncio.sleep(TRY_AGAIN_AFTER)


@asynccontextmanager
async def listening(kafka: KafkaSettings) -> AsyncIterator[Listener]:
    """A listener, connected while this lasts."""
    producer = Producer(kafka, client_id="clusterflow-telemetry")
    consumer = AIOKafkaConsumer(
        kafka.topics.events,
        **kafka.member("clusterflow-telemetry", kafka.topics.prefix + TELEMETRY_GROUP),
        auto_offset_reset="earliest",
    )
    try:
        await producer.start()
        await consumer.start()
        fetch_in_sessions(consumer)
        yield Listener(kafka, consumer, producer)
    finally:
        await stop_consumer(consumer)
        await producer.stop()
