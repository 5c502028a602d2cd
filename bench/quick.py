"""`python -m bench.quick`: the main ratios in under 90 seconds, beside `bench/baseline.json`.

Each question is asked in five pairs, ours and the peer's in turn, all questions interleaved; its answer is
the median of their ratios. Ends with 1 when one is below `--least` of its baseline: half for CI, whose
machines do other things too, 0.8 for people.
"""

import argparse
import asyncio
import contextlib
import itertools
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

from bench import baseline
from bench.bursts import declare
from bench.figures import machine, save, table
from bench.filled import PARTITIONS
from bench.fleet import fill
from bench.load import Unanswered
from bench.peer import Peer
from bench.reads import ONE, PAGE, Reading, bodies, requests_one, requests_page
from bench.records import AGENTS, outputs
from bench.stage import RoleProcess, Stage, wait_ready
from bench.throughput import CLUSTERS, System, echoing
from bench.worker import TOPIC, null_drains, worker_drains
from bench.writes import Kind
from streams.settings import KafkaSettings

PAIRS: Final = 5
SECONDS: Final = 0.6  # of each side of a pair
WARM_UP: Final = 1.2  # seconds of each side: the first requests may take as long as all of a pair
BURST: Final = 3000  # records
VOID: Final = 3  # pairs that may come to nothing because the machine stood still, and are asked again

Probe = Callable[[float], float]
"""Measures one pair for so many seconds a side; returns our speed in units of the peer's."""


def probes_of_reads(web: RoleProcess, bare: Peer, kinds: Mapping[str, list[bytes]]) -> dict[str, Probe]:
    """GET one and a page, beside the bare handler."""
    ports = map(int, bare.introduced)
    readings = [
        Reading(name, kind, web.port, port, web.pid)
        for (name, kind), port in zip(kinds.items(), ports, strict=True)
    ]

    def probe(reading: Reading) -> Probe:
        def measure(seconds: float) -> float:
            ours, peer = reading.pair(seconds)
            return ours.per_second / peer.per_second

        return measure

    return {reading.name: probe(reading) for reading in readings}


def probes_of_writes(
    web: RoleProcess, worker: RoleProcess, servers: str, echo: ProcessPoolExecutor
) -> dict[str, Probe]:
    """One client's wait and 64 clients' rates, beside the echo."""
    one, many = (System(web, worker, servers, in_flight, echo) for in_flight in (1, 64))

    def wait(seconds: float) -> float:
        return one.echo(seconds).spread.p50 / one.write("PUT cluster", seconds).spread.p50

    def rate(kind: Kind) -> Probe:
        return lambda seconds: many.write(kind, seconds).per_second / many.echo(seconds).per_second

    return {
        "PUT cluster, p50 of one client": wait,
        "PUT cluster, 64 connections": rate("PUT cluster"),
        "POST cluster, 64 connections": rate("POST cluster"),
    }


def probe_of_worker(kafka: KafkaSettings, worker: RoleProcess, null: Peer) -> Probe:
    """Commands through one worker, beside the agent that does nothing."""
    bursts = itertools.count()

    def measure(_: float) -> float:  # a burst is a number of records
        records = outputs("commands", BURST, clusters=CLUSTERS, burst=next(bursts))
        ours = worker_drains(kafka, worker, records, AGENTS["commands"])
        return ours.per_second / null_drains(kafka, null, records).per_second

    return measure


@contextlib.contextmanager
def all_probes() -> Iterator[dict[str, Probe]]:
    """Every question's, on one deployment."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        stage = stack.enter_context(Stage(directory, {"KAFKA_PARTITIONS": str(PARTITIONS)}))
        servers = stage.bootstrap_servers
        kafka = KafkaSettings(bootstrap_servers=servers, partitions=PARTITIONS, replication=1)
        asyncio.run(fill(kafka, CLUSTERS))
        web, worker = stage.start("web"), stage.start("worker")
        asyncio.run(declare(kafka, TOPIC))
        wait_ready(web, worker)
        kinds = {ONE: requests_one(CLUSTERS, random.Random(1)), PAGE: requests_page(CLUSTERS)}
        bare = stack.enter_context(Peer("bench.bare", *bodies(web.port, [*kinds.values()], directory)))
        null = stack.enter_context(Peer("bench.null", servers, TOPIC, "bench-null", BURST))
        echo = stack.enter_context(echoing(servers))
        yield {
            **probes_of_reads(web, bare, kinds),
            **probes_of_writes(web, worker, servers, echo),
            "commands through one worker": probe_of_worker(kafka, worker, null),
        }


def measure() -> dict[str, list[float]]:
    """The ratios of all pairs, after a warm-up."""
    with all_probes() as probes:
        return interleaved(probes)


def interleaved(probes: Mapping[str, Probe]) -> dict[str, list[float]]:
    """The ratios of all pairs, asked in turn; the first of each question warms up and does not count.

    Raises: Unanswered: more than `VOID` pairs went without an answer.
    """
    pairs: dict[str, list[float]] = {name: [] for name in probes}
    void = 0
    for turn, (name, probe) in itertools.product(range(-1, PAIRS), probes.items()):
        while True:
            try:
                ratio = probe(SECONDS if turn >= 0 else WARM_UP)
                break
            except Unanswered as error:
                void += 1
                print(f"{name}: {error}, pair {void} of {VOID} asked again", file=sys.stderr)
                if void > VOID:
                    raise
        if turn >= 0:
            pairs[name].append(ratio)
    return pairs


def main() -> None:
    """Run, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--least", type=float, default=0.5, help="part of the baseline (default: 0.5)")
    parser.add_argument("--write-baseline", action="store_true", help="write today's ratios down instead")
    given = parser.parse_args()
    pairs = measure()
    ratios = baseline.medians(pairs)
    if given.write_baseline:
        baseline.write(ratios, machine())
    verdicts = baseline.judged(ratios, baseline.read(), least=given.least)
    print(table(baseline.HEADER, [verdict.row() for verdict in verdicts]))
    print(save("quick", {"seed": 1, "pairs": pairs, "least": given.least}))
    if not all(verdict.kept for verdict in verdicts):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
