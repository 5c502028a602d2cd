"""A partition's records as one event, and how an agent takes all events that are queued for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import faust
from aiokafka import ConsumerRecord
from faust.types import TP


class Batch:
    """Records of one partition in offset order; the value of one event."""

    __slots__ = ("next_offset", "partition", "records", "size", "topic")

    def __init__(self, tp: TP, records: Sequence[ConsumerRecord]) -> None:
        self.topic = tp.topic
        self.partition = tp.partition
        self.records = records
        self.next_offset = records[-1].offset + 1
        self.size = sum(map(_size, records))


def _size(record: ConsumerRecord) -> int:
    """The approximate bytes of a record."""
    headers = record.headers
    header_bytes = sum([len(name) + len(value or b"") for name, value in headers]) if headers else 0
    return len(record.key or b"") + len(record.value or b"") + header_bytes


class BatchSchema(faust.Schema):
    """Passes keys and values on undecoded: agents decode them, so that they handle bad records too."""

    def compile(self, app: Any, **kwargs: Any) -> Any:
        """Faust's hook: a decoder that makes an event without touching the payload."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(message.key, message.value, message.headers, message)

        return decode


def wake(stream: Any) -> None:
    """Have `queued_batches` call `admit` again although nothing new was queued."""
    with contextlib.suppress(asyncio.QueueFull):  # then something is queued, which has the same effect
        stream.channel.queue.put_nowait(None)


async def queued_batches(
    stream: Any, *, admit: Callable[[Sequence[Any]], Sequence[Any]] = lambda events: events
) -> AsyncIterator[Sequence[Any]]:
    """Everything queued for an agent, as lists of events, oldest first; waits while nothing is queued.

    Args:
        admit: Given the new events, returns those to take now.

    The agent acknowledges each event (`event.ack()`) when its outputs and states are stored. Events from
    before a rebalance are dropped: recovery seeks back to their records, here or on another worker.
    """
    app = stream.app
    queue = stream.channel.queue
    await stream.maybe_start()
    while not stream.should_stop:
        try:
            events = [await stream.channel.get()]
        except StopAsyncIteration:  # Faust's signal that the stream stops
            return
        while not queue.empty():
            events.append(queue.get_nowait())
        generation = app.consumer_generation_id
        current = [
            event
            for event in admit(events)
            if event is not None
            and app.flow_control.is_active()
            and event.message.generation_id == generation
        ]
        for event in current:
            event.message.tracked = True
            app.consumer.track_message(event.message)
        if current:
            yield current
