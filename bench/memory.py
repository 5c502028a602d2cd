"""`python -m bench.memory`: what a cluster costs web and worker in memory, beside its stored JSON.

Private memory at 100 000 clusters less that with none, once ready; the stored JSON is what the changelog
holds of the clusters, values alone.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Final

from bench.figures import Answer, tell
from bench.filled import FilledStage
from bench.stage import wait_ready
from bench.startup import QUIET
from bench.usage import usage

REACH: Final = {"web": 2.0, "worker": 2.5}


def memories(clusters: int) -> tuple[dict[str, int], int]:
    """Bytes by role at so many clusters, and those of their stored JSON."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        FilledStage(Path(directory), clusters, QUIET) as stage,
    ):
        roles = [stage.start(name) for name in REACH]
        wait_ready(*roles, within=120)
        return {role.name: usage(role.pid).memory for role in roles}, stage.stored_bytes


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=100_000)
    given = parser.parse_args()
    (empty, _), (full, stored) = memories(0), memories(given.clusters)
    answers = [
        Answer(
            f"memory of {name} per cluster at {given.clusters:,}",
            f"{(full[name] - empty[name]) / given.clusters:,.0f} bytes",
            f"stored JSON {stored / given.clusters:,.0f} bytes",
            (full[name] - empty[name]) / stored,
            most=most,
        )
        for name, most in REACH.items()
    ]
    tell("memory", answers, clusters=given.clusters, figures={"empty": empty, "full": full, "stored": stored})


if __name__ == "__main__":
    main()
