"""`python -m bench.recorder`: the recorder stores 180 000 public events, beside COPY of the same rows.

A third each are new resources, tasks that were started for them, and tasks that ended. The recorder starts
on full topics and an empty table. It is timed from the first stored positions until the last, so neither its
start nor that of its group counts. Then COPY (binary, one connection) writes the rows that it has written
into a table made like theirs with its indexes. COPY leaves out decoding, looking for events that are there
already, and positions.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final

import asyncpg

from bench.bursts import Drained
from bench.figures import Answer, tell
from bench.filled import PARTITIONS
from bench.sink import COPIES, DRAINED_WITHIN, copied
from bench.stage import RoleProcess, Stage
from bench.usage import usage
from bench.worker import cpu_micros
from domain.ids import deterministic_id
from domain.resource import Resource, ResourceState
from streams.cause import Cause, announcement
from streams.settings import KafkaSettings
from streams.task import Completed, Requested
from streams.trace import trace_of
from streams.writing.outputs import Output
from streams.writing.producer import Producer

TABLE: Final = "processed_events"
AT: Final = datetime(2030, 1, 1, tzinfo=UTC)
READ: Final = "SELECT coalesce(sum(next_offset), 0)::bigint FROM sink_offsets"
LOOK: Final = 0.05  # seconds between looks at the positions
PAGE: Final = 5000  # records that are published at a time


def announcements(resources: int) -> Iterator[Output]:
    """Return what is announced of new resources and of the task that each starts."""
    for number in range(resources):
        id = deterministic_id("bench-resource", number)
        shown = {"name": f"resource {number}", "description": "d" * 200, "status": "active"}
        resource = Resource(id=id, created_at=AT, updated_at=AT, **shown)
        task: dict[str, Any] = {"task_id": f"auto-{id}", "resource_id": id, "action": "process_new_resource"}
        values = {
            "resource.created": resource,
            "task.process": Requested(**task),
            "task.completed": Completed(**task, result=f"Completed process_new_resource for resource {id}"),
        }
        trace, state = trace_of(None), ResourceState(revision=1, version=1, resource=resource)
        for topic, value in values.items():
            cause = Cause(deterministic_id(id, topic), AT, trace)
            output = announcement(topic, id, value, state, cause)
            yield output._replace(headers={**output.headers, "producer": "clusterflow"})


async def publish(kafka: KafkaSettings, outputs: Iterator[Output]) -> None:
    """Publish all of them, in pages."""
    producer = Producer(kafka, client_id="bench")
    try:
        while page := list(islice(outputs, PAGE)):
            await producer.publish(page)
    finally:
        await producer.stop()


async def drained(
    connection: "asyncpg.Connection[asyncpg.Record]", recorder: RoleProcess, wanted: int
) -> Drained:
    """Time from the first look that found any rows to the one that found all. Raises: TimeoutError."""
    first: tuple[int, float, float] | None = None
    async with asyncio.timeout(DRAINED_WITHIN):
        while True:
            count = await connection.fetchval(READ)
            now, cpu = time.monotonic(), usage(recorder.pid).cpu_seconds
            if first is None and count:
                first = count, now, cpu
            if count >= wanted:
                assert first is not None
                return Drained(count - first[0], now - first[1], cpu - first[2])
            await asyncio.sleep(LOOK)


@dataclass(frozen=True, slots=True)
class Figures:
    """How the recorder drained its topics, and the seconds of each COPY of all rows."""

    recorded: Drained
    copies: list[float]


async def measure(stage: Stage, resources: int) -> Figures:
    """Fill the topics, let the recorder drain them, then copy."""
    kafka = KafkaSettings(bootstrap_servers=stage.bootstrap_servers, partitions=PARTITIONS, replication=1)
    await publish(kafka, announcements(resources))
    connection = await asyncpg.connect(stage.database_url)
    try:
        recorder = stage.start("recorder")
        recorded = await drained(connection, recorder, 3 * resources)
        recorder.stop()
        rows = await connection.fetchval(f"SELECT count(*) FROM {TABLE}")
        assert rows == 3 * resources
        copies = [await copied(connection, [TABLE]) for _ in range(COPIES)]
    finally:
        await connection.close()
    return Figures(recorded, copies)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resources", type=int, default=60_000, help="each with three events")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        Stage(Path(directory), {"KAFKA_PARTITIONS": str(PARTITIONS)}) as stage,
    ):
        figures = asyncio.run(measure(stage, given.resources))
    events = 3 * given.resources
    ours, peer = figures.recorded.per_second, events / median(figures.copies)
    answer = Answer(
        f"recorder storing {events:,} events",
        f"{ours:,.0f}/s, {cpu_micros([figures.recorded]):.0f} µs of processor each",
        f"COPY {peer:,.0f}/s",
        ours / peer,
        least=0.25,
    )
    tell("recorder", [answer], resources=given.resources, figures=asdict(figures))


if __name__ == "__main__":
    main()
