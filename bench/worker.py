"""`python -m bench.worker`: commands and reports through one worker, beside a Faust agent that does nothing.

Both drain bursts of the same records from as many partitions, in turn. The worker counts when its turn is
committed: state, event and result of every record acknowledged. The agent (`bench/null.py`) is Faust as it is
meant to be used, tuned, one record at a time; it decides nothing, stores nothing and publishes nothing.
Updates of resources take turns with commands to clusters, to show what a simple kind costs beside them.
"""

import argparse
import asyncio
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Final

from bench.bursts import DRAINED_WITHIN, Drained, declare, drain, metric, until_counted
from bench.figures import Answer, rates, tell
from bench.filled import PARTITIONS, FilledStage
from bench.peer import Peer
from bench.records import AGENTS, KINDS, Kind, outputs
from bench.stage import RoleProcess, wait_ready
from streams.settings import KafkaSettings
from streams.writing.outputs import Output

TOPIC: Final = "bench-null"

IN_TURN: Final[Sequence[Sequence[Kind]]] = (("commands", "resource updates"), ("reports",))
"""Kinds that are compared take turns; reports are last, since they make the clusters' states longer."""

Pairs = tuple[list[Drained], list[Drained]]
"""How bursts of one kind went, through the worker and through the agent."""


def turns_of(*agents: str) -> tuple[str, ...]:
    """The counters of records that agents have decided."""
    return tuple(f'clusterflow_turn_records_sum{{agent="{agent}"}}' for agent in agents)


def worker_drains(
    kafka: KafkaSettings, worker: RoleProcess, records: Sequence[Output], agents: tuple[str, ...]
) -> Drained:
    """One burst through agents of the product's worker, each of which decides something for each record."""
    turns = turns_of(*agents)
    wanted = metric(worker, turns) + len(records) * len(agents)
    return drain(kafka, records, worker.pid, lambda: until_counted(worker, turns, wanted))


def null_drains(kafka: KafkaSettings, null: Peer, records: Sequence[Output]) -> Drained:
    """The same burst through the agent that does nothing."""
    same = [output._replace(topic=TOPIC) for output in records]
    return drain(kafka, same, null.pid, lambda: float(null.wait_for("done", within=DRAINED_WITHIN)[0]))


def pair(
    kafka: KafkaSettings, worker: RoleProcess, null: Peer, records: Sequence[Output], agents: tuple[str, ...]
) -> tuple[Drained, Drained]:
    """The same burst through both."""
    return worker_drains(kafka, worker, records, agents), null_drains(kafka, null, records)


def pairs_in_turn(
    kafka: KafkaSettings, worker: RoleProcess, null: Peer, kinds: Sequence[Kind], given: argparse.Namespace
) -> dict[Kind, Pairs]:
    """Bursts of some kinds in turn, each through both; the first of each warms up and does not count."""
    taken: dict[Kind, Pairs] = {kind: ([], []) for kind in kinds}
    for burst, kind in itertools.product(range(given.pairs + 1), kinds):
        records = outputs(kind, given.count, clusters=given.clusters, burst=burst)
        both = pair(kafka, worker, null, records, AGENTS[kind])
        if burst:
            for kept, drained in zip(taken[kind], both, strict=True):
                kept.append(drained)
    return taken


def answer(kind: Kind, ours: Sequence[Drained], peers: Sequence[Drained]) -> Answer:
    """How the rates compare."""
    return rates(
        f"{kind} through one worker",
        [one.per_second for one in ours],
        [one.per_second for one in peers],
        peer="null agent",
        cpu_micros=cpu_micros(ours),
        least=1.0,
    )


def cpu_micros(drained: Sequence[Drained]) -> float:
    """Of processor time for a record, in the median of the bursts."""
    return median(one.cpu_seconds / one.count for one in drained) * 1e6


def kinds_compared(resources: Sequence[Drained], clusters: Sequence[Drained]) -> Answer:
    """What a simple kind costs beside clusters, whose rules, clock and events are richer."""
    one, other = cpu_micros(resources), cpu_micros(clusters)
    question = "a resource update / a cluster update, processor time of a worker"
    return Answer(question, f"{one:.0f} µs", f"{other:.0f} µs", one / other, most=0.7)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="records of a burst (default: 10000)")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--clusters", type=int, default=10_000)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        FilledStage(Path(directory), given.clusters) as stage,
    ):
        kafka = KafkaSettings(bootstrap_servers=stage.bootstrap_servers, partitions=PARTITIONS, replication=1)
        worker = stage.start("worker")
        asyncio.run(declare(kafka, TOPIC))
        wait_ready(worker)
        taken: dict[Kind, Pairs] = {}
        with Peer("bench.null", stage.bootstrap_servers, TOPIC, "bench-null", given.count) as null:
            for kinds in IN_TURN:
                taken |= pairs_in_turn(kafka, worker, null, kinds, given)
    answers = [answer(kind, *taken[kind]) for kind in KINDS]
    answers.append(kinds_compared(taken["resource updates"][0], taken["commands"][0]))
    figures = {
        kind: {"ours": list(map(asdict, ours)), "peer": list(map(asdict, peers))}
        for kind, (ours, peers) in taken.items()
    }
    tell("worker", answers, figures=figures, clusters=given.clusters)


if __name__ == "__main__":
    main()
