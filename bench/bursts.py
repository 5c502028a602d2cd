"""A burst of records that is all there before its consumer may take the first.

The consumer's process is stopped while the burst is published, and let go: what is measured is how fast it
drains, with its fetches as full as they get, and the producer takes nothing from it.
"""

import asyncio
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.stage import HOST, RoleProcess
from bench.usage import usage
from streams.settings import KafkaSettings
from streams.writing.outputs import Output
from streams.writing.producer import Producer

DRAINED_WITHIN: Final = 120.0  # seconds
LOOK: Final = 0.05  # seconds between looks at a worker's counters; each takes 1.5 ms of its time


@dataclass(frozen=True, slots=True)
class Drained:
    """How a burst went: seconds by the clock, and seconds of the consumer's processor time."""

    count: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Records."""
        return self.count / self.seconds

    @property
    def per_cpu_second(self) -> float:
        """Records by a second of processor time."""
        return self.count / self.cpu_seconds


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Keep a process still; shorter than its session, or it loses its partitions."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def drain(
    kafka: KafkaSettings,
    outputs: Sequence[Output],
    pid: int,
    done: Callable[[], float],
    *,
    afterwards: float = 0.0,
) -> Drained:
    """Publish a burst to a process that stands still, let it go, and wait.

    Args:
        done: Waits until it has taken all; returns the monotonic time at which it had.
        afterwards: Seconds in which it may still store and commit; processor time counts to their end.
    """
    with stopped(pid):
        asyncio.run(publish(kafka, outputs))
        before = usage(pid).cpu_seconds
        started = time.monotonic()
    ended = done()
    time.sleep(afterwards)
    return Drained(len(outputs), ended - started, usage(pid).cpu_seconds - before)


async def publish(kafka: KafkaSettings, outputs: Sequence[Output], *, chunk: int = 2000) -> None:
    """Publish records, as fast as one producer does."""
    producer = Producer(kafka, client_id="bench")
    await producer.start()
    try:
        for start in range(0, len(outputs), chunk):
            await producer.publish(outputs[start : start + chunk])
    finally:
        await producer.stop()


def until_ended(kafka: KafkaSettings, topic: str, wanted: int) -> float:
    """Wait until a topic holds so many records; returns the monotonic time. Raises: TimeoutError."""

    async def wait() -> float:
        consumer = AIOKafkaConsumer(**kafka.client("bench"), group_id=None)
        await consumer.start()
        places = [TopicPartition(topic, number) for number in range(kafka.partitions)]
        try:
            async with asyncio.timeout(DRAINED_WITHIN):
                while sum((await consumer.end_offsets(places)).values()) < wanted:
                    await asyncio.sleep(LOOK)
            return time.monotonic()
        finally:
            await consumer.stop()

    return asyncio.run(wait())


async def declare(kafka: KafkaSettings, *topics: str) -> None:
    """Create topics of our own, as wide as the product's."""
    admin = AIOKafkaAdminClient(**kafka.client("bench"))
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, kafka.partitions, 1) for name in topics])
    finally:
        await admin.close()


def metric(role: RoleProcess, name: str | tuple[str, ...]) -> float:
    """The sum of a role's counters whose lines begin so: names, or names with their first labels."""
    with urllib.request.urlopen(f"http://{HOST}:{role.metrics_port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def until_counted(role: RoleProcess, name: str | tuple[str, ...], wanted: float) -> float:
    """Wait until a counter has grown so far; returns the monotonic time. Raises: TimeoutError."""
    deadline = time.monotonic() + DRAINED_WITHIN
    while metric(role, name) < wanted:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} is {metric(role, name):.0f}, not {wanted:.0f}")
        time.sleep(LOOK)
    return time.monotonic()
