"""`python -m bench.worker`: commands and reports through one worker, beside a Faust agent that does nothing.

Both drain bursts of the same records from as many partitions, in turn. The worker counts when its turn is
committed: state, event and result of every record acknowledged. The agent (`bench/null.py`) is Faust as it is
meant to be used, tuned, one record at a time; it decides nothing, stores nothing and publishes nothing.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Final

from bench.bursts import DRAINED_WITHIN, Drained, declare, drain, metric, until_counted
from bench.figures import Answer, median_ratio, tell
from bench.filled import PARTITIONS, FilledStage
from bench.peer import Peer
from bench.records import AGENTS, KINDS, Kind, outputs
from bench.stage import RoleProcess, wait_ready
from streams.settings import KafkaSettings
from streams.writing.outputs import Output

TOPIC: Final = "bench-null"


def turns_of(agent: str) -> str:
    """The counter of records that an agent has decided."""
    return f'clusterflow_turn_records_sum{{agent="{agent}"}}'


def worker_drains(
    kafka: KafkaSettings, worker: RoleProcess, records: Sequence[Output], agent: str
) -> Drained:
    """One burst through an agent of the product's worker."""
    turns = turns_of(agent)
    wanted = metric(worker, turns) + len(records)
    return drain(kafka, records, worker.pid, lambda: until_counted(worker, turns, wanted))


def null_drains(kafka: KafkaSettings, null: Peer, records: Sequence[Output]) -> Drained:
    """The same burst through the agent that does nothing."""
    same = [output._replace(topic=TOPIC) for output in records]
    return drain(kafka, same, null.pid, lambda: float(null.wait_for("done", within=DRAINED_WITHIN)[0]))


def pair(
    kafka: KafkaSettings, worker: RoleProcess, null: Peer, records: Sequence[Output], agent: str
) -> tuple[Drained, Drained]:
    """The same burst through both."""
    return worker_drains(kafka, worker, records, agent), null_drains(kafka, null, records)


def answer(kind: Kind, ours: Sequence[Drained], peers: Sequence[Drained]) -> Answer:
    """How the rates compare."""
    rates = [one.per_second for one in ours]
    cpu = median(one.cpu_seconds / one.count for one in ours) * 1e6
    return Answer(
        f"{kind} through one worker",
        f"{median(rates):,.0f}/s, {cpu:.0f} µs of processor each",
        f"null agent {median(one.per_second for one in peers):,.0f}/s",
        median_ratio(rates, [one.per_second for one in peers]),
        least=1.0,
    )


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
        answers, figures = [], {}
        with Peer("bench.null", stage.bootstrap_servers, TOPIC, "bench-null", given.count) as null:
            for kind in KINDS:
                bursts = [
                    outputs(kind, given.count, clusters=given.clusters, burst=burst)
                    for burst in range(given.pairs + 1)
                ]
                agent = AGENTS[kind]
                pairs = [pair(kafka, worker, null, burst, agent) for burst in bursts]
                del pairs[0]  # the first warms up
                ours, peers = [one for one, _ in pairs], [other for _, other in pairs]
                answers.append(answer(kind, ours, peers))
                figures[kind] = {"ours": list(map(asdict, ours)), "peer": list(map(asdict, peers))}
    tell("worker", answers, figures=figures, clusters=given.clusters)


if __name__ == "__main__":
    main()
