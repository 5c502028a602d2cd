"""Appends records to aiokafka's batches, and waits for these. Written against aiokafka 0.14."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence, Set
from copy import copy
from functools import partial
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaTimeoutError, ProducerClosed

from domain.errors import Unpublishable
from streams.kafka.partitions import partition_of
from streams.kafka.timeouts import KNOWN_WITHIN
from streams.writing.outputs import Headers, Output, RecordPosition, batch_bytes, wire_headers
from streams.writing.patience import Patience

BatchSlot = tuple[Any, int]
"""A batch of aiokafka, and a record's number in it."""

Acknowledged = Callable[[Mapping[int, RecordPosition]], None]
"""Called as records are acknowledged, with their positions by their index among the published records."""


def ages(accumulator: Any) -> Mapping[tuple[str, int], float]:
    """By topic and partition, the age of the oldest unacknowledged batch in seconds."""
    batches = [*accumulator._pending_batches, *(pending[0] for pending in accumulator._batches.values())]
    now, oldest = time.monotonic(), dict[tuple[str, int], float]()
    for batch in batches:
        age = now - batch._ctime
        oldest[batch.tp] = max(age, oldest.get(batch.tp, age))
    return oldest


async def append_all(inner: AIOKafkaProducer, outputs: Sequence[Output]) -> list[BatchSlot]:
    """Append records in their order; return the batch of each and its number in it.

    Raises:
        KafkaError: the brokers do not know the topics, or the producer was closed; none was appended.
        Unpublishable: one is too large, and none was appended.
    """
    accumulator = inner._message_accumulator
    records = [(output, wire_headers(output)) for output in outputs]
    for output, headers in records:
        if (size := batch_bytes(output.key, output.value, headers)) > inner._max_request_size:
            raise Unpublishable(f"a record of {size} bytes for {output.topic}")
    topics = {output.topic for output in outputs}
    counts = await _known(inner, topics)  # so that nothing below has to wait
    if accumulator._closed:
        raise ProducerClosed
    if accumulator._exception is not None:
        raise copy(accumulator._exception)
    return [
        _append(accumulator, _place(inner, output, counts[output.topic]), output, headers)
        for output, headers in records
    ]


def is_stored(batch: Any) -> bool:
    """Whether a batch is acknowledged."""
    future = batch.future
    return future.done() and not future.cancelled() and future.exception() is None


def positions_of(places: Sequence[BatchSlot]) -> list[RecordPosition]:
    """The positions of records. Raises: KafkaError: some may not have been stored."""
    return [
        RecordPosition(batch.tp.partition, batch.future.result().offset + number) for batch, number in places
    ]


def notify_each(places: Sequence[BatchSlot], acknowledged: Acknowledged) -> None:
    """Call `acknowledged` with the records of each batch when the broker has acknowledged it."""
    records: dict[Any, dict[int, int]] = {}
    for index, (batch, number) in enumerate(places):
        records.setdefault(batch, {})[index] = number

    def notify(batch: Any, future: "asyncio.Future[Any]") -> None:
        if future.cancelled() or future.exception() is not None:
            return
        partition, offset = batch.tp.partition, future.result().offset
        acknowledged(
            {index: RecordPosition(partition, offset + number) for index, number in records[batch].items()}
        )

    for batch in records:
        batch.future.add_done_callback(partial(notify, batch))


async def all_done(
    futures: Set["asyncio.Future[Any]"], patience: Patience | None = None, within: float | None = None
) -> bool:
    """Wait until all are done, for at most `within` seconds; return whether they are.

    Cancelling this cancels none of them, because others wait for the same batches. `asyncio.wait` has the
    same effect and takes three times as long.
    """
    if not futures:
        return True
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
    """The partition counts of topics once all are known; a metadata answer for one may lose another's.

    Raises: KafkaError: after `KNOWN_WITHIN` seconds the brokers still do not know all of them at once; the
        publisher's caller may have no deadline of its own.
    """
    if len(known := partition_counts(inner, topics)) == len(topics):
        return known
    try:
        async with asyncio.timeout(KNOWN_WITHIN):
            while unknown := topics - known.keys():
                await inner.partitions_for(next(iter(unknown)))
                known = partition_counts(inner, topics)
    except TimeoutError:
        unknown = topics - known.keys()
        raise KafkaTimeoutError(f"partitions not known: {', '.join(sorted(unknown))}") from None
    return known


def partition_counts(inner: AIOKafkaProducer, topics: Set[str]) -> dict[str, int]:
    """The partition counts of those topics for which they are known."""
    found = {topic: inner._metadata.partitions_for_topic(topic) for topic in topics}
    return {topic: len(partitions) for topic, partitions in found.items() if partitions is not None}


def _place(inner: AIOKafkaProducer, output: Output, partitions: int) -> TopicPartition:
    """The partition for an output; `partitions` is the count of its topic."""
    topic, key, partition = output.topic, output.key, output.partition
    if partition is None and key is not None:
        partition = partition_of(key, partitions)
    elif partition is None:  # a dead letter without a key may be in any partition
        partition = inner._partition(topic, None, None, None, None, None)
    return TopicPartition(topic, partition)


def _append(accumulator: Any, place: TopicPartition, output: Output, headers: Headers) -> BatchSlot:
    """Append to the last batch of a partition, or to a new one; return the record's slot."""
    pending = accumulator._batches.get(place)
    batch = pending[-1] if pending else _new_batch(accumulator, place)
    while True:
        added = batch._builder.append(timestamp=None, key=output.key, value=output.value, headers=headers)
        if added is not None:
            return batch, added.offset
        batch = _new_batch(accumulator, place)  # the last one is full, or is being retried


def _new_batch(accumulator: Any, place: TopicPartition) -> Any:
    batch = accumulator._append_batch(accumulator.create_builder(), place)
    batch.future.add_done_callback(noticed)
    return batch


def noticed(future: "asyncio.Future[Any]") -> None:
    """Retrieve the exception of a future whose waiter was cancelled, so that asyncio does not log it."""
    if not future.cancelled():
        future.exception()
