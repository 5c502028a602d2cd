"""`python -m bench.startup`: how long web and worker take to be ready at 100 000 clusters.

Beside a bare consumer (`bench/reader.py`) that reads the same changelogs to their ends; all are processes
that count from their start, in turn. Web reads states; the worker states and names, and it joins its group.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

from bench.figures import Answer, median_ratio, tell
from bench.filled import PARTITIONS, FilledStage
from bench.peer import Peer
from bench.stage import Stage, wait_ready
from streams.topics import Topics

QUIET: Final = {"RECONCILIATION_ENABLED": "false"}
TOPICS: Final = {"web": (Topics().state,), "worker": (Topics().state, Topics().names)}


def role_starts(stage: Stage, name: str) -> float:
    """Seconds until a role is ready; it is stopped again."""
    role = stage.start(name)
    try:
        return wait_ready(role, within=120)
    finally:
        role.stop()


def reader_reads(stage: Stage, topics: Sequence[str]) -> float:
    """Seconds until a bare consumer has read these topics."""
    started = time.monotonic()
    with Peer("bench.reader", stage.bootstrap_servers, PARTITIONS, *topics) as reader:
        reader.wait_for("done", within=120)
        return time.monotonic() - started


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=3)
    given = parser.parse_args()
    answers, figures = [], {}
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        FilledStage(Path(directory), given.clusters, QUIET) as stage,
    ):
        reader_reads(stage, TOPICS["worker"])  # the logs into the machine's memory, for all alike
        for name, topics in TOPICS.items():
            pairs = [(role_starts(stage, name), reader_reads(stage, topics)) for _ in range(given.pairs)]
            ours, peers = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            figures[name] = {"ours": ours, "peer": peers}
            answers.append(
                Answer(
                    f"start of {name} at {given.clusters:,} clusters",
                    f"{median(ours):.1f} s",
                    f"reading the changelog {median(peers):.1f} s",
                    median_ratio(ours, peers),
                    most=2.0,
                )
            )
    tell("startup", answers, figures=figures, clusters=given.clusters)


if __name__ == "__main__":
    main()
