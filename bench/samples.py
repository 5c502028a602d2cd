"""`python -m bench.samples`: writes to clusters beside a flood of samples that come by Kafka.

The flood is published at its rate, whatever the product does. Samples have a worker of their own
(`WORKER_KINDS`), and all roles are at work. Latencies count from when a write was due. Afterwards the newest
sample of each cluster must be that which was sent last, and all must have rows.
"""

import argparse
import asyncio
import tempfile
import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import asyncpg

from bench.bursts import DRAINED_WITHIN
from bench.figures import Answer, tell
from bench.filled import PARTITIONS, FilledStage
from bench.fleet import cluster_id
from bench.load import Load, run
from bench.stage import HOST, RoleProcess, Stage, wait_ready
from bench.usage import usage
from bench.wire import Connection, request_bytes
from bench.writes import OWNER, requests
from domain.measures import MEASURED
from domain.samples import Add, Given
from streams.samples import FLOW
from streams.settings import KafkaSettings
from streams.writing.outputs import Output
from streams.writing.producer import Producer

WRITES: Final = 50.0
"""A second."""

SAMPLED: Final = 100
"""Clusters that send samples, four types each at a time."""

SLICES: Final = 10
"""Parts of the flood in a second."""

ROWS: Final = "SELECT count(*) FROM metrics"


class Flood:
    """Samples that are published at a rate, from a thread of its own."""

    def __init__(self, kafka: KafkaSettings, per_minute: int, seconds: float) -> None:
        self._kafka = kafka
        self._commands = per_minute // 60 // len(MEASURED) // SLICES  # of a slice
        self._slices = int(seconds * SLICES)
        self.sent = 0
        self.last: dict[str, float] = {}
        self.thread = threading.Thread(target=lambda: asyncio.run(self._publish()))

    async def _publish(self) -> None:
        producer = Producer(self._kafka, client_id="bench")
        await producer.start()
        began = time.monotonic()
        try:
            for number in range(self._slices):
                await asyncio.sleep(began + number / SLICES - time.monotonic())
                await producer.publish([self._next() for _ in range(self._commands)])
        finally:
            await producer.stop()

    def _next(self) -> Output:
        id, value = cluster_id(self.sent % SAMPLED), float(self.sent % 79)
        at = datetime.now(UTC)
        samples = tuple(Given(type=type_, value=value, timestamp=at) for type_ in MEASURED)
        self.sent += 1
        self.last[id] = value
        return FLOW.command(Add(id=id, command_id=f"bench-{self.sent}", samples=samples), {})


async def until_stored(stage: Stage, wanted: int) -> float:
    """Seconds until all samples have rows. Raises: TimeoutError."""
    began = time.monotonic()
    connection = await asyncpg.connect(stage.database_url)
    try:
        async with asyncio.timeout(DRAINED_WITHIN):
            while await connection.fetchval(ROWS) < wanted:
                await asyncio.sleep(0.1)
    finally:
        await connection.close()
    return time.monotonic() - began


def wrong(web: RoleProcess, last: dict[str, float]) -> int:
    """How many clusters do not show what was sent last."""
    found = 0
    with Connection(HOST, web.port) as connection:
        for id, value in last.items():
            path = f"/api/v1/metrics?cluster_id={id}&page_size=4"
            page = connection.exchange(request_bytes("GET", path, email=OWNER)).json()["metrics"]
            found += {each["type"]: each["value"] for each in page} != dict.fromkeys(MEASURED, value)
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-minute", type=int, default=100_000, help="samples (default: 100000)")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clusters", type=int, default=1000)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        FilledStage(Path(name), given.clusters) as stage,
    ):
        kafka = KafkaSettings(bootstrap_servers=stage.bootstrap_servers, partitions=PARTITIONS, replication=1)
        workers = {
            kinds: stage.start("worker", environment={"WORKER_KINDS": kinds}) for kinds in ("core", "samples")
        }
        web, sink = stage.start("web"), stage.start("sink")
        wait_ready(web, sink, *workers.values())
        load = Load(web.port, requests("PUT cluster", given.clusters), given.seconds / 2, rate=WRITES)
        alone = run(load).spread
        flood = Flood(kafka, given.per_minute, given.seconds)
        roles = {"web": web, "sink": sink, **workers}
        before = {role: usage(each.pid).cpu_seconds for role, each in roles.items()}
        flood.thread.start()
        beside = run(Load(web.port, load.requests, given.seconds - 5, rate=WRITES)).spread
        memory = usage(workers["samples"].pid).memory / 2**20
        flood.thread.join()
        late = asyncio.run(until_stored(stage, flood.sent * len(MEASURED)))
        cpu = {
            role: (usage(each.pid).cpu_seconds - before[role]) / (flood.sent * len(MEASURED)) * 1e6
            for role, each in roles.items()
        }
        bad = wrong(web, flood.last)
    answers = [
        Answer(
            f"PUT cluster, {WRITES:g}/s, p99 beside {given.per_minute} samples a minute",
            f"p50 {beside.p50:.1f} ms",
            f"p99 alone {alone.p99:.1f} ms",
            beside.p99,
            most=250.0,
            unit="ms",
        ),
        Answer("clusters whose newest samples are wrong", f"of {SAMPLED}", "", bad, most=0.0, unit=""),
        Answer(
            "until all samples have rows, after the last", f"{flood.sent * 4} samples", "", late, unit="s"
        ),
        Answer("memory of the worker of samples", "", "", memory, unit="MiB"),
        *(
            Answer(f"processor time a sample, {role}", "", "", micros, unit="µs")
            for role, micros in cpu.items()
        ),
    ]
    tell("samples", answers, figures={"alone": asdict(alone), "beside": asdict(beside)})


if __name__ == "__main__":
    main()
