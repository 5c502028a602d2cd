"""Faults that are records: input that comes again and out of order, and input that nobody can read."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from streams.reading.unpacking import MAX_BATCH_BYTES
from streams.topic import MAX_INPUT_BYTES
from streams.topics import Topics

POISON: Final = "poison-"  # how the keys of bad records begin; no cluster's id and no owner's name does
STOP_WITHIN: Final = 10.0  # seconds; a client whose Kafka is away would try for ever
Client = TypeVar("Client", AIOKafkaConsumer, AIOKafkaProducer)

BOMB: Final = 2 * MAX_BATCH_BYTES  # bytes, of which the packed ones are a thousandth

WINDOW: Final = 0.2  # seconds of input that are repeated together
SOON: Final = 3.0  # seconds, in which a cluster gets fewer commands than it remembers


class Repeater:
    """Publishes records of the input topics again soon after they came, in another order, some twice.

    They keep partition, key, value and headers, as a client's retry or a mirror would have them. Those that a
    broker that was away has held up are passed over: a cluster that many write to has forgotten them by then.
    """

    def __init__(self, bootstrap_servers: str, draws: random.Random, topics: Topics | None = None) -> None:
        topics = topics or Topics()
        self.repeated = 0
        self._topics = (
            *(topics.create_requests, topics.name_requests, topics.commands, topics.accepted_commands),
            *(topics.reports, topics.ticks),
        )
        self._bootstrap_servers = bootstrap_servers
        self._draws = draws
        self._own: set[tuple[str, int, int]] = set()

    async def __aenter__(self) -> Self:
        self._producer = await _started(lambda: _producer(self._bootstrap_servers))
        self._consumer = await _started(self._new_consumer)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in (self._consumer, self._producer):
            with suppress(TimeoutError):
                await asyncio.wait_for(client.stop(), STOP_WITHIN)

    def _new_consumer(self) -> AIOKafkaConsumer:
        servers = self._bootstrap_servers
        return AIOKafkaConsumer(
            *self._topics,
            bootstrap_servers=servers,
            group_id=None,
            auto_offset_reset="latest",
            isolation_level="read_committed",  # what was taken back is nobody's to repeat
        )

    async def run(self, seconds: float) -> None:
        """Repeat for that long what others publish; its own repeats are not repeated."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            window: list[ConsumerRecord] = []
            for tp, records in (await self._consumer.getmany(timeout_ms=int(WINDOW * 1000))).items():
                window += [record for record in records if (*tp, record.offset) not in self._own]
            again = [record for record in window for _ in range(self._draws.choice((1, 1, 2)))]
            self._draws.shuffle(again)
            for record in again:
                if time.time() - record.timestamp / 1000 < SOON:
                    await self._repeat(record)
            await asyncio.sleep(WINDOW)

    async def _repeat(self, record: ConsumerRecord) -> None:
        position = await self._producer.send_and_wait(
            record.topic,
            record.value,
            key=record.key,
            partition=record.partition,
            headers=list(record.headers),
        )
        self._own.add((*TopicPartition(record.topic, record.partition), position.offset))
        self.repeated += 1


@dataclass(frozen=True, slots=True)
class BadRecord:
    """One record that its reader cannot take: `key` tells the topic and what is wrong."""

    topic: str
    key: str
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


def bad_records(draws: random.Random, topics: Topics) -> Iterator[BadRecord]:
    """Every kind of bad record for every topic that has readers with a dead-letter topic.

    A null value is a tombstone on a compacted topic, and so is not bad there. Nothing is done to changelogs,
    which one worker writes: a foreign record there is not bad input but a second writer.
    """
    for spec in topics.all():
        if not spec.dead_letters or spec.retention is None:
            continue
        values: dict[str, bytes | None] = {
            "json": b'{"half": ',
            "null": None,
            "bytes": draws.randbytes(200),
            "schema": b'{"type": "cluster.none", "cluster_id": 7}',
            "list": b"[1, 2, 3]",
            "deep": b"[" * 5000 + b"]" * 5000,
            "key": _someone_elses(spec.name, topics, draws),
        }
        if spec.from_outside:  # the others may be as large as ours
            values["large"] = b'{"a": "' + b"x" * (MAX_INPUT_BYTES + 1) + b'"}'
        for what, value in values.items():
            yield BadRecord(spec.name, _key(what, draws), value)
        if spec.from_outside:
            key = _key("bound", draws)
            yield BadRecord(spec.name, key, b" " * (MAX_INPUT_BYTES - len(key)))
            headers = (("request_id", b"x" * (MAX_INPUT_BYTES + 1)),)
            yield BadRecord(spec.name, _key("headers", draws), values["key"], headers)


def _key(what: str, draws: random.Random) -> str:
    return f"{POISON}{what}-{draws.getrandbits(64):016x}"


def _someone_elses(topic: str, topics: Topics, draws: random.Random) -> bytes:
    """A good message for another key than the one it comes under."""
    cluster_id = str(UUID(int=draws.getrandbits(128), version=4))
    if topic == topics.reports:
        report = {"cluster_id": cluster_id, "controller_name": "c", "observed_generation": 1}
        return json.dumps(report).encode()
    command: dict[str, Any] = {
        "command_id": str(UUID(int=draws.getrandbits(128), version=4)),
        "cluster_id": cluster_id,
        "user_email": "poison@example.com",
        "issued_at": "2026-01-01T00:00:00Z",
    }
    if topic in (topics.create_requests, topics.name_requests):
        spec = {"platform": {"type": "gcp"}}
        return json.dumps({**command, "type": "cluster.create", "name": "bad", "spec": spec}).encode()
    return json.dumps({**command, "type": "cluster.delete", "force": True}).encode()


def bombed(topics: Topics) -> list[str]:
    """The topics that get a record which packs far more than any process would unpack."""
    return [spec.name for spec in topics.all() if spec.from_outside]


async def poison(bootstrap_servers: str, draws: random.Random, topics: Topics | None = None) -> int:
    """Publish one of every kind of bad record, and bombs; returns how many."""
    topics = topics or Topics()
    # Compressed, large ones get past the broker's bound.
    producer = await _started(lambda: _producer(bootstrap_servers, compression_type="gzip"))
    records = list(bad_records(draws, topics))
    try:
        for record in records:
            await producer.send_and_wait(
                record.topic, record.value, key=record.key.encode(), headers=list(record.headers)
            )
        for topic in bombed(topics):
            await producer.send_and_wait(topic, b" " * BOMB, key=_key("bomb", draws).encode())
    finally:
        with suppress(TimeoutError):
            await asyncio.wait_for(producer.stop(), STOP_WITHIN)
    return len(records) + len(bombed(topics))


async def _started(make: Callable[[], Client]) -> Client:
    """A client that has connected, once Kafka is there: the other lane may have taken it away just now."""
    while True:
        client = make()
        try:
            await client.start()
        except KafkaError:
            await client.stop()
            await asyncio.sleep(0.5)
        else:
            return client


def _producer(bootstrap_servers: str, **options: Any) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        enable_idempotence=True,
        acks="all",
        max_request_size=2 * BOMB,
        max_batch_size=2 * BOMB,
        **options,
    )
