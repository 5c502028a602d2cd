"""The demo as a bystander on Kafka: reads events and reports, of all partitions, without a consumer group."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer

from examples.demo.progress import Progress, SeenReport

EVENTS: Final = "cluster-events"
REPORTS: Final = "cluster-status-reports"


class _Event(msgspec.Struct):
    """An event of a cluster has an `id`, one of operations an `event_id`."""

    type: str
    id: str = ""
    event_id: str = ""


class _Condition(msgspec.Struct):
    type: str
    status: str
    message: str = ""


class _Report(msgspec.Struct):
    cluster_id: str
    controller_name: str
    observed_generation: int
    conditions: list[_Condition]
    last_error: dict[str, Any] | None = None


async def watch(bootstrap_servers: str, progress: Progress) -> None:
    """Tell the progress of every event and report there is and comes, until cancelled. Raises: KafkaError."""
    see: dict[str, Callable[[bytes], None]] = {
        EVENTS: lambda value: _see_event(value, progress),
        REPORTS: lambda value: _see_report(value, progress),
    }
    consumer = AIOKafkaConsumer(
        *see,
        bootstrap_servers=bootstrap_servers,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    await consumer.start()
    try:
        async for record in consumer:
            see[record.topic](record.value)
    finally:
        await consumer.stop()


def _see_event(value: bytes, progress: Progress) -> None:
    event = msgspec.json.decode(value, type=_Event)
    progress.see_event(event.id or event.event_id, event.type)


def _see_report(value: bytes, progress: Progress) -> None:
    report = msgspec.json.decode(value, type=_Report)
    available = next((each for each in report.conditions if each.type == "Available"), None)
    progress.see_report(
        SeenReport(
            cluster_id=report.cluster_id,
            controller=report.controller_name,
            generation=report.observed_generation,
            available=available is not None and available.status == "True",
            message=available.message if available else "",
            failed=report.last_error is not None,
        )
    )
