"""The floor under every write: produce → consume → produce → consume, with nothing in between.

`EchoServer` is a process that sends back what it reads; `EchoClient` produces a record and waits until it has
come back. Both use aiokafka as the product does (idempotent, acks=all, linger 0) on uvloop, on topics of one
partition, so nothing is cheaper than this with these clients.
"""

import asyncio
import itertools
import multiprocessing
import time
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

REQUESTS, REPLIES = "bench-echo-requests", "bench-echo-replies"


async def declare_echo_topics(bootstrap_servers: str) -> None:
    """Create both topics where they are missing."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        missing = {REQUESTS, REPLIES} - set(await admin.list_topics())
        if missing:
            await admin.create_topics([NewTopic(name, 1, 1) for name in sorted(missing)])
    finally:
        await admin.close()


class EchoServer:
    """The other side, as a process of its own, while the block runs."""

    def __init__(self, bootstrap_servers: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._ready, ready = context.Pipe(duplex=False)
        self._process = context.Process(target=_serve, args=(bootstrap_servers, ready), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        if not self._ready.poll(30):
            raise RuntimeError("the echo process did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()


def _serve(bootstrap_servers: str, ready: "Connection[Any, Any]") -> None:
    async def serve() -> None:
        async with _consumer(bootstrap_servers) as consumer, _producer(bootstrap_servers) as producer:
            await _at_end(consumer, REQUESTS)
            ready.send(True)
            while True:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    for record in records:
                        await producer.send(REPLIES, record.value, key=record.key)

    uvloop.run(serve())


class EchoClient:
    """Sends records and waits for each to come back."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._consumer: Any = None
        self._producer: Any = None
        self._numbers = itertools.count()
        self._waiting: dict[bytes, asyncio.Future[float]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect."""
        self._consumer = _consumer(self._bootstrap_servers)
        self._producer = _producer(self._bootstrap_servers)
        await self._producer.start()
        await self._consumer.start()
        await _at_end(self._consumer, REPLIES)
        self._reader = asyncio.create_task(self._read())

    async def stop(self) -> None:
        """Disconnect."""
        if self._reader is not None:
            self._reader.cancel()
        await self._consumer.stop()
        await self._producer.stop()

    async def echo(self, payload: bytes) -> float:
        """The seconds until a record came back."""
        key = b"%d" % next(self._numbers)
        back: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[key] = back
        started = time.perf_counter()
        await self._producer.send(REQUESTS, payload, key=key)
        return await back - started

    async def _read(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=1000)).values():
                now = time.perf_counter()
                for record in records:
                    future = self._waiting.pop(record.key, None)
                    if future is not None:
                        future.set_result(now)


def _consumer(bootstrap_servers: str) -> Any:
    return AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, group_id=None, enable_auto_commit=False)


def _producer(bootstrap_servers: str) -> Any:
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, enable_idempotence=True, acks="all", linger_ms=0
    )


async def _at_end(consumer: Any, topic: str) -> None:
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    await consumer.seek_to_end(partition)
    await consumer.position(partition)  # fixes the position now, before anything is produced
