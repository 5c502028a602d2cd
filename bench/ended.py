"""`python -m bench.ended`: from a call of ProcessTask until a consumer has `task.completed`, one at a time.

A call is decided, queued, claimed and completed: records that follow one after the other. Beside it is the
way of one record from a bare producer to a bare consumer.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import grpc.aio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.bursts import DRAINED_WITHIN, declare
from bench.figures import Answer, Spread, spread, tell
from bench.filled import PARTITIONS
from bench.stage import HOST, Stage, wait_ready
from rpc.task.v1.task_pb2 import ProcessTaskRequest
from rpc.task.v1.task_pb2_grpc import TaskServiceStub
from streams.settings import KafkaSettings

COMPLETED: Final = "task.completed"
BARE: Final = "bench-bare"
WARM_UP: Final = 20  # that do not count


@asynccontextmanager
async def at_the_end(bootstrap_servers: str, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of what comes to a topic from now on."""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, group_id=None) as consumer:
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_end(*places)
        for place in places:
            await consumer.position(place)
        yield consumer


async def timed(
    consumer: AIOKafkaConsumer, samples: int, begin: Callable[[bytes], Awaitable[object]]
) -> Spread:
    """From the beginning of something until the record of its key has come."""
    took = []
    for number in range(samples + WARM_UP):
        key = f"r-{number}".encode()
        came = asyncio.ensure_future(consumer.getone())
        started = time.perf_counter()
        await begin(key)
        record = await asyncio.wait_for(came, DRAINED_WITHIN)
        took.append(time.perf_counter() - started)
        assert record.key == key, record
    return spread(took[WARM_UP:])


async def measured(stage: Stage, port: int, samples: int) -> tuple[Spread, Spread]:
    """How long tasks take, and bare records."""
    servers = stage.bootstrap_servers
    await declare(KafkaSettings(bootstrap_servers=servers, partitions=PARTITIONS, replication=1), BARE)
    async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
        tasks = TaskServiceStub(channel)  # type: ignore[no-untyped-call]
        async with at_the_end(servers, COMPLETED) as consumer:

            async def ask(key: bytes) -> None:
                await tasks.ProcessTask(ProcessTaskRequest(resource_id=key.decode(), action="resize"))

            ours = await timed(consumer, samples, ask)
    producing = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
    async with producing as producer, at_the_end(servers, BARE) as consumer:
        bare = await timed(consumer, samples, lambda key: producer.send_and_wait(BARE, b"{}", key=key))
    return ours, bare


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=300)
    given = parser.parse_args()
    settings = {"KAFKA_PARTITIONS": str(PARTITIONS)}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, Stage(Path(directory), settings) as stage:
        roles = [stage.start(name) for name in ("worker", "executor", "grpc")]
        wait_ready(*roles)
        ours, bare = asyncio.run(measured(stage, roles[-1].port, given.samples))
    question = "ProcessTask → task.completed, 1 client"
    p50, p95 = (f"bare record {value:.2f} ms" for value in (bare.p50, bare.p95))
    found = [
        Answer(f"{question}, p50", f"{ours.count} tasks", p50, ours.p50, most=30, unit="ms"),
        Answer(f"{question}, p95", f"p99 {ours.p99:.1f} ms", p95, ours.p95, unit="ms"),
    ]
    tell("ended", found, figures={"ours": asdict(ours), "bare": asdict(bare)})


if __name__ == "__main__":
    main()
