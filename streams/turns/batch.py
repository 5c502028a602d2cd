"""A partition's records as one event: what an agent is handed, and how it takes all that is queued."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import faust
from aiokafka import ConsumerRecord
from faust.types import TP


class Batch:
    """Records of one partition in offset order, the value of one event."""

    __slots__ = ("next_offset", "partition", "records", "size", "topic")

    def __init__(self, tp: TP, records: Sequence[ConsumerRecord]) -> None:
        self.topic = tp.topic
        self.partition = tp.partition
        self.records = records
        self.next_offset = records[-1].offset + 1
        self.size = sum(map(_size, records))


def _size(record: ConsumerRecord) -> int:
    """Its bytes, about."""
    headers = record.headers
    told = sum([len(name) + len(value or b"") for name, value in headers]) if headers else 0
    return len(record.key or b"") + len(record.value or b"") + told


class BatchSchema(faust.Schema):
    """Passes key and value on as they are: agents decode for themselves, so that a bad record is theirs."""

    def compile(self, app: Any, **kwargs: Any) -> Any:
        """Faust's hook: a decoder that makes an event without touching the payload."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(message.key, message.value, message.headers, message)

        return decode


def wake(stream: Any) -> None:
    """Have `queued_batches` ask for what may be taken, though nothing has come."""
    with contextlib.suppress(asyncio.QueueFull):  # then something has come
        stream.channel.queue.put_nowait(None)


async def queued_batches(
    stream: Any, *, admit: Callable[[Sequence[Any]], Sequence[Any]] = lambda events: events
) -> AsyncIterator[Sequence[Any]]:
    """Everything queued for an agent, as lists of events, oldest first; waits while there is nothing.

    Args:
        admit: Given what has come, says what is to be taken now.

    The agent acknowledges each event (`event.ack()`) when its outputs and states are stored. Events that a
    rebalance has overtaken are left alone: recovery seeks back to them, here or on another worker.
    """
    app = stream.app
    queue = stream.channel.queue
    await stream.maybe_start()
    while not stream.should_stop:
        try:
            events = [await stream.channel.get()]
        except StopAsyncIteration:  # how Faust tells a stream that it stops
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
