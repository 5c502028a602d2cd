"""`python -m bench.relay`: rows of an outbox through one relay, and how soon one is out.

A burst of rows is committed while the relay stands by, and over when all records are in their topic; it is
timed from the first row that is marked. The bare producer publishes the records of the same rows: it reads
no row and marks none. Rows of a topic of somebody else go straight there. Rows of resources become commands,
and the worker announces them under the ids of the rows. Latency counts from the end of the commit, one row at
a time, until a consumer has the record.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.bursts import DRAINED_WITHIN, LOOK, Drained, declare, publish, until_ended
from bench.figures import Answer, Spread, median_ratio, spread, tell
from bench.filled import PARTITIONS
from bench.stage import RoleProcess, Stage, wait_ready
from bench.usage import usage
from bench.worker import cpu_micros
from outbox.lead import LOCK
from streams.kafka.topic_ids import topic_ids
from streams.settings import KafkaSettings
from streams.writing.outputs import Output

FOREIGN: Final = "order.placed"
BARE: Final = "bench-bare"
OURS: Final = "resource.created"
INSERT: Final = """
INSERT INTO outbox_events (id, aggregate_id, event_type, payload)
SELECT id, id, $1, payload::jsonb FROM unnest($2::text[], $3::text[]) AS rows (id, payload)
"""
DONE: Final = "SELECT count(*) FROM outbox_events WHERE processed_at IS NOT NULL"

Row = tuple[str, str]
"""The id of a row, which is that of its aggregate, too, and its payload."""


def rows_of(kind: str, first: int, count: int) -> list[Row]:
    """Rows that create as many resources, or tell of as many orders."""
    ids = [f"{kind}-{number}" for number in range(first, first + count)]
    return [(id, json.dumps({"id": id, "name": id, "description": "d" * 64})) for id in ids]


async def commit(connection: asyncpg.Connection, kind: str, rows: Sequence[Row]) -> None:
    """Commit rows, all together."""
    await connection.execute(INSERT, kind, *map(list, zip(*rows, strict=True)))


@asynccontextmanager
async def held(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Keep the lead, so that the relay stands by."""
    await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
    try:
        yield
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)


async def drained(
    connection: asyncpg.Connection, relay: RoleProcess, count: int, announced: Callable[[], float]
) -> Drained:
    """How a burst goes that is committed, from the first look that finds any of it marked.

    Args:
        announced: Waits until its records are where they shall be; returns the monotonic time.
    """
    before, used = await connection.fetchval(DONE), usage(relay.pid).cpu_seconds
    async with asyncio.timeout(DRAINED_WITHIN):
        while not (first := await connection.fetchval(DONE) - before):
            await asyncio.sleep(LOOK)
        started, ended = time.monotonic(), await asyncio.to_thread(announced)
        while await connection.fetchval(DONE) - before < count:
            await asyncio.sleep(LOOK)
    rows = count - first
    return Drained(rows, ended - started, (usage(relay.pid).cpu_seconds - used) * rows / count)


async def bursts(stage: Stage, kind: str, given: argparse.Namespace) -> tuple[list[Drained], list[Drained]]:
    """Bursts through the relay and through a bare producer in turn; the first warms up and does not count."""
    kafka = KafkaSettings(bootstrap_servers=stage.bootstrap_servers, partitions=PARTITIONS, replication=1)
    relayed, bare = list[Drained](), list[Drained]()
    leader, connection = [await asyncpg.connect(stage.database_url) for _ in range(2)]
    try:
        for number in range(given.bursts + 1):
            rows = rows_of(kind, number * given.count, given.count)
            async with held(leader):
                relay = await started(stage)
                await commit(connection, kind, rows)
            announced = partial(until_ended, kafka, kind, (number + 1) * given.count)
            relayed.append(await drained(connection, relay, len(rows), announced))
            await asyncio.to_thread(relay.stop)
            bare.append(await produced(kafka, rows))
    finally:
        for each in (leader, connection):
            await each.close()
    return relayed[1:], bare[1:]


async def started(stage: Stage) -> RoleProcess:
    """A relay that is ready."""
    relay = stage.start("relay", environment={"OUTBOX_ALLOWED_TYPES": f"{FOREIGN},{OURS}"})
    await asyncio.to_thread(wait_ready, relay)
    return relay


async def produced(kafka: KafkaSettings, rows: Sequence[Row]) -> Drained:
    """The same records by a producer that knows them already."""
    outputs = [Output(BARE, id.encode(), payload.encode(), {"event_id": id}) for id, payload in rows]
    cpu, started = time.process_time(), time.monotonic()
    await publish(kafka, outputs)
    return Drained(len(rows), time.monotonic() - started, time.process_time() - cpu)


async def latencies(stage: Stage, kind: str, samples: int) -> Spread:
    """From the end of a row's commit until a consumer has its record."""
    consumer = AIOKafkaConsumer(bootstrap_servers=stage.bootstrap_servers, group_id=None)
    await consumer.start()
    connection = await asyncpg.connect(stage.database_url)
    places = [TopicPartition(kind, number) for number in range(PARTITIONS)]
    try:
        consumer.assign(places)
        await consumer.seek_to_end(*places)
        for place in places:
            await consumer.position(place)
        took = []
        for row in rows_of(kind, 10_000_000, samples):
            came = asyncio.ensure_future(consumer.getone())
            await commit(connection, kind, [row])
            committed = time.perf_counter()
            record = await asyncio.wait_for(came, DRAINED_WITHIN)
            took.append(time.perf_counter() - committed)
            assert record.key == row[0].encode(), record
        return spread(took)
    finally:
        await connection.close()
        await consumer.stop()


def answers(
    foreign: tuple[list[Drained], list[Drained]], ours: list[Drained], idle: Spread, idle_ours: Spread
) -> list[Answer]:
    """What is asked of a relay."""
    relayed, bare = foreign
    rate, rate_ours = (median(one.per_second for one in each) for each in (relayed, ours))
    question = "rows of an outbox through one relay"
    return [
        Answer(
            f"{question}, beside a bare producer",
            f"{rate:,.0f}/s, {cpu_micros(relayed):.0f} µs of processor each",
            f"{median(one.per_second for one in bare):,.0f}/s, {cpu_micros(bare):.0f} µs each",
            median_ratio([one.per_second for one in relayed], [one.per_second for one in bare]),
        ),
        Answer(question, f"{rate:,.0f}/s", "", rate, least=2000, unit="/s"),
        Answer(
            f"{question}, resources with a worker that decides them",
            f"{rate_ours:,.0f}/s, {cpu_micros(ours):.0f} µs each",
            "",
            rate_ours,
            least=2000,
            unit="/s",
        ),
        Answer("from commit to consumer, p50, idle", f"{idle.p50:.1f} ms", "", idle.p50, most=20, unit="ms"),
        Answer(
            "from commit to the event of a resource, p50, idle",
            f"{idle_ours.p50:.1f} ms",
            "",
            idle_ours.p50,
            most=20,
            unit="ms",
        ),
    ]


async def measured(stage: Stage, given: argparse.Namespace) -> list[Answer]:
    """All answers of a run."""
    kafka = KafkaSettings(bootstrap_servers=stage.bootstrap_servers, partitions=PARTITIONS, replication=1)
    await declare(kafka, FOREIGN, BARE)
    while not await topic_ids(kafka, [FOREIGN]):  # a relay refuses a type that is no topic
        await asyncio.sleep(LOOK)
    foreign = await bursts(stage, FOREIGN, given)
    worker = stage.start("worker")
    await asyncio.to_thread(wait_ready, worker)
    ours, _ = await bursts(stage, OURS, given)
    await started(stage)
    idle = await latencies(stage, FOREIGN, given.samples)
    idle_ours = await latencies(stage, OURS, given.samples)
    return answers(foreign, ours, idle, idle_ours)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="rows of a burst (default: 10000)")
    parser.add_argument("--bursts", type=int, default=3)
    parser.add_argument("--samples", type=int, default=300, help="rows whose latency is taken")
    given = parser.parse_args()
    settings = {"KAFKA_PARTITIONS": str(PARTITIONS)}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, Stage(Path(directory), settings) as stage:
        found = asyncio.run(measured(stage, given))
    tell("relay", found)


if __name__ == "__main__":
    main()
