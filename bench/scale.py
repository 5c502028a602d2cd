"""`python -m bench.scale`: what an operation costs at 1 000, 10 000 and 100 000 clusters.

Three deployments at once, loaded in turn; the cost is the processor time of web (reads) or of web and worker
(writes) per operation, which other work on the machine disturbs less than latencies.
"""

import argparse
import contextlib
import itertools
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench.figures import Answer, tell
from bench.filled import FilledStage
from bench.load import Load, run
from bench.reads import requests_one, requests_page
from bench.stage import RoleProcess, wait_ready
from bench.startup import QUIET
from bench.writes import requests

SIZES: Final = (1_000, 10_000, 100_000)
FLAT: Final = 1.2

# Pages and writes touch as many clusters at every size, so that nothing but the fleet differs.
TOUCHED: Final = 1000

OPERATIONS: Final[Mapping[str, Callable[[int], Sequence[bytes]]]] = {
    "GET one cluster": lambda size: requests_one(TOUCHED, random.Random(1)),
    "list page of 50, filtered": lambda size: requests_page(TOUCHED),
    "PUT cluster": lambda size: requests("PUT cluster", TOUCHED),
    "PUT status": lambda size: requests("PUT status", TOUCHED),
}


@dataclass(frozen=True, slots=True)
class Deployment:
    """Web and worker with so many clusters."""

    size: int
    web: RoleProcess
    worker: RoleProcess

    def cost(self, operation: str, seconds: float, first: int) -> float:
        """Microseconds of processor time of both per operation."""
        load = Load(self.web.port, OPERATIONS[operation](self.size), seconds, connections=16, first=first)
        return run(load, self.web.pid, self.worker.pid).cpu_micros


@contextlib.contextmanager
def deployments(directory: Path, sizes: Sequence[int]) -> Iterator[list[Deployment]]:
    """One of each size, at the same time."""
    with contextlib.ExitStack() as stack:
        found = []
        for size in sizes:
            stage = stack.enter_context(FilledStage(directory / str(size), size, QUIET))
            web, worker = stage.start("web"), stage.start("worker")
            wait_ready(web, worker, within=120)
            found.append(Deployment(size, web, worker))
        yield found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    given = parser.parse_args()
    costs: dict[str, dict[int, list[float]]] = {
        name: {size: [] for size in given.sizes} for name in OPERATIONS
    }
    numbers = itertools.count(step=1_000_000)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        deployments(Path(directory), given.sizes) as all_sizes,
    ):
        # Reads first: an update takes its cluster out of the pages of ready ones, and a small fleet runs out.
        for name, turn in itertools.product(OPERATIONS, range(given.rounds + 1)):
            for deployment in all_sizes:
                cost = deployment.cost(name, given.seconds, next(numbers))
                if turn:  # the first warms up
                    costs[name][deployment.size].append(cost)
    tell("scale", [answer(name, by_size) for name, by_size in costs.items()], figures=costs)


def answer(name: str, by_size: Mapping[int, Sequence[float]]) -> Answer:
    """How flat an operation's cost is: the dearest size by the cheapest."""
    middles = {size: median(costs) for size, costs in by_size.items()}
    text = ", ".join(f"{cost:.0f}" for cost in middles.values())
    sizes = ", ".join(f"{size:,}" for size in middles)
    flatness = max(middles.values()) / min(middles.values())
    return Answer(f"{name} at {sizes} clusters", f"{text} µs of processor", "", flatness, most=FLAT)


if __name__ == "__main__":
    main()
