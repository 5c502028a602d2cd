"""`python -m bench.processes`: what a second process of a role brings, on this machine's cores.

GETs with 64 connections, all to one web process or half to each of two; a burst of commands that one worker
drains, or two that share the partitions. Nothing but the number of processes differs, and one and two take
turns. Two cores also carry Kafka and the load, so twice as much is not to be had here.
"""

import argparse
import asyncio
import contextlib
import itertools
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from bench import load
from bench.bursts import DRAINED_WITHIN, LOOK, metric, publish, stopped
from bench.figures import Answer, median_ratio, tell
from bench.filled import PARTITIONS, FilledStage
from bench.load import Load
from bench.reads import requests_one
from bench.records import outputs
from bench.stage import RoleProcess, wait_ready
from bench.startup import QUIET
from bench.worker import turns_of
from streams.settings import KafkaSettings

CONNECTIONS: Final = 64
BURST: Final = 10_000


def reads_per_second(webs: Sequence[RoleProcess], requests: Sequence[bytes], seconds: float) -> float:
    """Of all together, each with its part of the connections."""
    each = CONNECTIONS // len(webs)
    running = [load.start(Load(web.port, requests, seconds, connections=each)) for web in webs]
    return sum(one.result().per_second for one in running)


def commands_per_second(kafka: KafkaSettings, workers: Sequence[RoleProcess], burst: int) -> float:
    """Of one burst, until the last of all workers has committed its part."""
    records = outputs("commands", BURST, clusters=BURST, burst=burst)
    wanted = _taken(workers) + len(records)
    with contextlib.ExitStack() as still:
        for worker in workers:
            still.enter_context(stopped(worker.pid))
        asyncio.run(publish(kafka, records))
        started = time.monotonic()
    deadline = started + DRAINED_WITHIN
    while _taken(workers) < wanted:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{wanted - _taken(workers):.0f} of {len(records)} commands are left")
        time.sleep(LOOK)
    return len(records) / (time.monotonic() - started)


def _taken(workers: Sequence[RoleProcess]) -> float:
    return sum(metric(worker, turns_of("clusters")) for worker in workers)


def answer(question: str, one: Sequence[float], two: Sequence[float]) -> Answer:
    """The rate of two beside that of one."""
    return Answer(question, f"two {median(two):,.0f}/s", f"one {median(one):,.0f}/s", median_ratio(two, one))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of reads, each side of a pair")
    given = parser.parse_args()
    reads: tuple[list[float], list[float]] = ([], [])
    commands: tuple[list[float], list[float]] = ([], [])
    bursts = itertools.count()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        FilledStage(Path(directory), BURST, QUIET) as stage,
    ):
        kafka = KafkaSettings(bootstrap_servers=stage.bootstrap_servers, partitions=PARTITIONS, replication=1)
        webs, first = [stage.start("web"), stage.start("web")], stage.start("worker")
        wait_ready(*webs, first)
        requests = requests_one(BURST, random.Random(1))
        for turn in range(given.pairs + 1):
            read = [reads_per_second(some, requests, given.seconds) for some in (webs[:1], webs)]
            alone = commands_per_second(kafka, [first], next(bursts))
            second = stage.start("worker")
            wait_ready(first, second)
            both = commands_per_second(kafka, [first, second], next(bursts))
            second.stop()
            wait_ready(first)
            if turn:  # the first warms up
                for kept, rates in ((reads, read), (commands, (alone, both))):
                    kept[0].append(rates[0])
                    kept[1].append(rates[1])
    tell(
        "processes",
        [answer("GET one cluster, two web processes", *reads), answer("commands, two workers", *commands)],
        figures={"reads": reads, "commands": commands},
    )


if __name__ == "__main__":
    main()
