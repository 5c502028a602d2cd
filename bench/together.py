"""`python -m bench.together`: writes while web, worker, sink, Kafka and PostgreSQL are all at work.

For each kind of write the rate with 64 connections, and what one write takes of the processor in each
process, until its row is in PostgreSQL. The settings are those of `clusterflow all`. With `--beside` another
version is measured in turn, on servers of its own and with its own number of partitions: such pairs alone
tell what changes between two commits.
"""

import argparse
import contextlib
import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench.bursts import DRAINED_WITHIN, LOOK, metric
from bench.figures import Answer, Spread, median_ratio, tell
from bench.filled import FilledStage
from bench.load import Load, run
from bench.stage import REPOSITORY, RoleProcess, give_way, wait_ready
from bench.throughput import CLUSTERS
from bench.usage import usage
from bench.writes import CLUSTER_KINDS, Kind, requests
from cli.development import YIELDING
from cli.embedded import PARTITIONS

LAG: Final = "clusterflow_sink_lag_records"


@dataclass(frozen=True, slots=True)
class Written:
    """What came of one load.

    Attributes:
        micros: Processor time of a write, by process.
    """

    per_second: float
    spread: Spread
    micros: Mapping[str, float]

    @property
    def total(self) -> float:
        """Processor time of a write in all of them."""
        return sum(self.micros.values())


class Deployment:
    """Every role of one version, and the servers they run on."""

    def __init__(self, stage: FilledStage, code: Path, yielding: Mapping[str, int]) -> None:
        roles = {name: stage.start(name, code=code) for name in ("web", "worker", "sink")}
        give_way(roles, yielding)
        self.web, self.sink = roles["web"], roles["sink"]
        self.roles: Sequence[RoleProcess] = [*roles.values()]
        self._pids = {**{name: role.pid for name, role in roles.items()}, "Kafka": stage.kafka.pid}
        self._numbers = itertools.count(step=10_000_000)  # no two loads create the same names

    def write(self, kind: Kind, seconds: float) -> Written:
        """Writes of a kind with 64 connections; over once all rows are there."""
        before = self._cpu_seconds()
        load = Load(self.web.port, requests(kind, CLUSTERS), seconds, first=next(self._numbers))
        loaded = run(load)
        self._drained()
        # What began before counting did costs as much: scale the count up by the whole time.
        count = len(loaded.latencies) * (1 + load.settle / seconds)
        after = self._cpu_seconds()
        micros = {name: (after[name] - before[name]) / count * 1e6 for name in after}
        return Written(loaded.per_second, loaded.spread, micros)

    def _cpu_seconds(self) -> dict[str, float]:
        return {name: usage(pid).cpu_seconds for name, pid in self._pids.items()}

    def _drained(self) -> None:
        """Wait until the sink has written all. Raises: TimeoutError."""
        deadline = time.monotonic() + DRAINED_WITHIN
        while metric(self.sink, LAG) > 0:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the sink is {metric(self.sink, LAG):.0f} records behind")
            time.sleep(LOOK)


@contextlib.contextmanager
def deployed(code: Path, partitions: int, yielding: Mapping[str, int]) -> Iterator[Deployment]:
    """A version on servers of its own, ready, with a fleet to write to."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        FilledStage(Path(directory), CLUSTERS, partitions=partitions) as stage,
    ):
        deployment = Deployment(stage, code, yielding)
        wait_ready(*deployment.roles, within=60)
        yield deployment


def answers(kind: Kind, ours: Sequence[Written], others: Sequence[Written]) -> Iterator[Answer]:
    """What a write takes, and how fast they go; beside the other version where there is one."""
    shares = ", ".join(f"{name} {median(each.micros[name] for each in ours):.0f}" for name in ours[0].micros)
    total = median(each.total for each in ours)
    rate = median(each.per_second for each in ours)
    tail = median(each.spread.p99 for each in ours)
    cost, speed = f"{kind}, everything at work, processor", f"{kind}, everything at work, 64 connections"
    if not others:
        yield Answer(cost, shares, "", total, unit="µs")
        yield Answer(speed, f"p99 {tail:.0f} ms", "", rate, unit="/s")
        return
    pairs = [each.total for each in ours], [each.total for each in others]
    yield Answer(cost, f"{total:.0f} µs: {shares}", f"{median(pairs[1]):.0f} µs", median_ratio(*pairs))
    speeds = [each.per_second for each in ours], [each.per_second for each in others]
    yield Answer(
        speed, f"{rate:,.0f}/s, p99 {tail:.0f} ms", f"{median(speeds[1]):,.0f}/s", median_ratio(*speeds)
    )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load (default: 2)")
    parser.add_argument("--beside", type=Path, help="the directory of another version to measure in turn")
    parser.add_argument("--beside-partitions", type=int, default=12, help="those of its topics (default: 12)")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(deployed(REPOSITORY, PARTITIONS, YIELDING))
        sides = [ours]
        if given.beside is not None:
            other = deployed(given.beside.resolve(), given.beside_partitions, {})
            sides.append(stack.enter_context(other))
        found: dict[Kind, list[list[Written]]] = {kind: [[] for _ in sides] for kind in CLUSTER_KINDS}
        for turn, kind in itertools.product(range(-1, given.rounds), CLUSTER_KINDS):
            for number, side in [*enumerate(sides)][:: 1 if turn % 2 else -1]:
                written = side.write(kind, given.seconds)
                if turn >= 0:  # the first warms up
                    found[kind][number].append(written)
    rows = [
        answer
        for kind, sides_of in found.items()
        for answer in answers(kind, sides_of[0], sides_of[1] if len(sides_of) > 1 else ())
    ]
    figures = {
        kind: [[asdict(each) for each in side] for side in sides_of] for kind, sides_of in found.items()
    }
    tell("together", rows, partitions=PARTITIONS, beside=given.beside, figures=figures)


if __name__ == "__main__":
    main()
