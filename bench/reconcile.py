"""`python -m bench.reconcile`: 100 000 clusters due at once, with the cap out of the way.

From the broker's stamp on the first tick until event and state of the last cluster are acknowledged, beside
one plain aiokafka producer that sends as many records of an event's size. Then what ticks cost that find
nothing due, all partitions together, as the worker times them. A second deployment gets commands over REST
meanwhile, open loop, from before the first tick until as long after it as the first took.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from bench.bursts import declare, metric, until_ended
from bench.figures import Answer, tell
from bench.filled import PARTITIONS, FilledStage
from bench.load import Load, Loaded, run
from bench.stage import RoleProcess, Stage, wait_ready
from bench.writes import requests
from streams.settings import KafkaSettings
from streams.topics import Topics
from streams.writing.outputs import Output

TOPIC: Final = "bench-plain"
INTERVAL: Final = 5  # seconds between ticks
RATE: Final = 50.0  # commands a second meanwhile
ENVIRONMENT: Final = {
    "RECONCILIATION_MAX_CONCURRENT": "10000000",
    "RECONCILIATION_CHECK_INTERVAL": f"{INTERVAL}s",
}
TICK_SECONDS: Final = "clusterflow_reconciliation_duration_seconds_sum"
TICKS: Final = "clusterflow_reconciliation_duration_seconds_count"

# Slots whose ticks are timed once nothing is due.
IDLE_SLOTS: Final = 2

_TOPICS: Final = Topics()


@contextmanager
def deployment(clusters: int, *roles: str) -> Iterator[tuple[Stage, KafkaSettings, list[RoleProcess]]]:
    """A stage on which everything is due, and its roles as soon as they are ready."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        FilledStage(Path(directory), clusters, ENVIRONMENT) as stage,
    ):
        kafka = KafkaSettings(bootstrap_servers=stage.bootstrap_servers, partitions=PARTITIONS, replication=1)
        started = []
        for name in roles:  # the worker last: its clock begins when it is ready
            started.append(stage.start(name))
            wait_ready(*started, within=120)
        yield stage, kafka, started


async def first_record(kafka: KafkaSettings, topic: str) -> ConsumerRecord:
    """The first record of a topic by its stamp; waits for one."""
    consumer = AIOKafkaConsumer(**kafka.client("bench"), group_id=None, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(kafka.partitions)])
        async with asyncio.timeout(60):
            record: ConsumerRecord = await consumer.getone()
            return record
    finally:
        await consumer.stop()


def reconciled(kafka: KafkaSettings, clusters: int) -> float:
    """Seconds from the first tick until every cluster's event and state stand in their logs."""
    stamped: float = asyncio.run(first_record(kafka, _TOPICS.ticks)).timestamp / 1000
    begun = stamped - time.time() + time.monotonic()
    until_ended(kafka, _TOPICS.events, clusters)
    # The fleet, the claims of the worker, and the fleet once more.
    return until_ended(kafka, _TOPICS.state, 2 * clusters + kafka.partitions) - begun


def plainly_produced(kafka: KafkaSettings, count: int) -> float:
    """Seconds for one producer and as many records as large as an event."""
    event = asyncio.run(first_record(kafka, _TOPICS.events))
    asyncio.run(declare(kafka, TOPIC))
    headers = {name: text.decode() for name, text in event.headers}
    outputs = [Output(TOPIC, b"%d" % number, event.value, headers) for number in range(count)]
    started = time.monotonic()
    uvloop.run(send(kafka, outputs))
    return time.monotonic() - started


async def send(kafka: KafkaSettings, outputs: Sequence[Output]) -> None:
    """Send records as aiokafka's users do: a call each, waited for in the end; tuned as ours is."""
    producer = AIOKafkaProducer(
        **kafka.client("bench"), enable_idempotence=True, acks="all", linger_ms=0, max_batch_size=256 * 1024
    )
    async with producer:
        sent = []
        for topic, key, value, headers, *_ in outputs:
            said = [(name, text.encode()) for name, text in headers.items()]
            sent.append(await producer.send(topic, value, key=key, headers=said))
        await asyncio.gather(*sent)


def idle_tick(worker: RoleProcess) -> float:
    """Seconds of one tick of all partitions, while nothing is due."""
    wait_slots(worker, 1)  # one that had something to do may still be under way
    before = metric(worker, TICK_SECONDS), metric(worker, TICKS)
    wait_slots(worker, IDLE_SLOTS)
    spent, ticks = metric(worker, TICK_SECONDS) - before[0], metric(worker, TICKS) - before[1]
    return spent / ticks * PARTITIONS


def wait_slots(worker: RoleProcess, slots: int) -> None:
    """Wait until so many more ticks of every partition were handled. Raises: TimeoutError."""
    wanted = metric(worker, TICKS) + slots * PARTITIONS
    deadline = time.monotonic() + (slots + 3) * INTERVAL
    while metric(worker, TICKS) < wanted:
        if time.monotonic() > deadline:
            raise TimeoutError("the worker has stopped ticking")
        time.sleep(0.1)


def commands_meanwhile(clusters: int, seconds: float) -> Loaded:
    """Commands over REST while everything is due."""
    with deployment(clusters, "web", "worker") as (_, _, (web, _)):
        writes = requests("PUT cluster", 3000)
        return run(Load(web.port, writes, seconds, rate=RATE, connections=256, settle=0.0))


def answers(clusters: int, figures: Mapping[str, float], commands: Loaded) -> list[Answer]:
    """What is asked of them."""
    ours, plain = clusters / figures["reconciled"], clusters / figures["plain"]
    return [
        Answer(
            f"reconcile of {clusters:,} due at once",
            f"{ours:,.0f}/s",
            f"plain producer {plain:,.0f}/s",
            ours / plain,
            least=0.3,
        ),
        Answer("a tick with nothing due", "", "", figures["idle_tick"] * 1000, most=20.0, unit="ms"),
        Answer(
            "commands meanwhile, p99",
            f"{RATE:.0f}/s due, p50 {commands.spread.p50:,.0f} ms",
            "",
            commands.spread.p99,
            most=250.0,
            unit="ms",
        ),
    ]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=100_000)
    given = parser.parse_args()
    with deployment(given.clusters, "worker") as (_, kafka, (worker,)):
        figures = {"reconciled": reconciled(kafka, given.clusters)}
        figures["idle_tick"] = idle_tick(worker)
        worker.stop()
        figures["plain"] = plainly_produced(kafka, given.clusters)
    commands = commands_meanwhile(given.clusters, INTERVAL + figures["reconciled"])
    tell(
        "reconcile",
        answers(given.clusters, figures, commands),
        clusters=given.clusters,
        figures={"seconds": figures, "commands": asdict(commands.spread)},
    )


if __name__ == "__main__":
    main()
