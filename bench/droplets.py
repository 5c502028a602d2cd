"""`python -m bench.droplets`: creates of droplets beside creates of resources, and how soon one is active.

The time of provisioning is set to nothing, so that what is left is ours: a droplet wakes, asks a block of the
network for an address, and is given it, in three turns of the worker. A load counts as over once every
droplet is active, with its address; the processor time is that of all of it. Each resource starts a task,
which no executor does here.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench.bursts import DRAINED_WITHIN, LOOK
from bench.figures import Answer, median_ratio, percentile, rates, tell
from bench.filled import PARTITIONS
from bench.load import Load, run
from bench.stage import HOST, RoleProcess, Stage, wait_ready
from bench.usage import usage
from bench.wire import Connection, request_bytes
from bench.writes import OWNER, Kind, requests

PATH: Final = "/api/v1/droplets"
WAITING: Final = request_bytes("GET", f"{PATH}?status=provisioning&limit=1", email=OWNER)
CONNECTIONS: Final = 64
KINDS: Final[tuple[Kind, ...]] = ("POST resource", "POST droplet")


@dataclass(frozen=True, slots=True)
class Created:
    """What came of a load of creates; `cpu_micros` is the time of web and worker for each, to its end."""

    per_second: float
    cpu_micros: float


def created(web: RoleProcess, worker: RoleProcess, kind: Kind, seconds: float) -> Created:
    """Creates of a kind, and what follows from them."""
    before = _cpu_seconds(web, worker)
    load = Load(web.port, requests(kind, 1), seconds, connections=CONNECTIONS)
    loaded = run(load)
    until_active(web)
    # What began before counting did costs as much: scale the count up by the whole time.
    count = len(loaded.latencies) * (1 + load.settle / seconds)
    return Created(loaded.per_second, (_cpu_seconds(web, worker) - before) / count * 1e6)


def _cpu_seconds(*roles: RoleProcess) -> float:
    return sum(usage(role.pid).cpu_seconds for role in roles)


def until_active(web: RoleProcess) -> None:
    """Wait until no droplet is being provisioned. Raises: TimeoutError."""
    deadline = time.monotonic() + DRAINED_WITHIN
    with Connection(HOST, web.port) as connection:
        while connection.exchange(WAITING).json() != {"droplets": []}:
            if time.monotonic() > deadline:
                raise TimeoutError("some droplets are still being provisioned")
            time.sleep(LOOK)


def waits(web: RoleProcess, count: int) -> Iterator[float]:
    """Seconds from a create until a read shows the droplet active, one at a time."""
    (create,) = requests("POST droplet", 1)
    with Connection(HOST, web.port) as connection:
        for _ in range(count):
            started = time.perf_counter()
            id = connection.exchange(create).json()["droplet"]["id"]
            read = request_bytes("GET", f"{PATH}/{id}", email=OWNER)
            while connection.exchange(read).json()["droplet"]["status"] != "active":
                if time.perf_counter() - started > DRAINED_WITHIN:
                    raise TimeoutError(f"{id} is still being provisioned")
            yield time.perf_counter() - started


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each pair (default: 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load (default: 2)")
    parser.add_argument("--droplets", type=int, default=200, help="that are waited for one by one")
    given = parser.parse_args()
    settings = {"KAFKA_PARTITIONS": str(PARTITIONS), "DROPLET_PROVISION_SECONDS": "0"}
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        Stage(Path(directory), settings) as stage,
    ):
        web, worker = stage.start("web"), stage.start("worker")
        wait_ready(web, worker)
        taken: dict[Kind, list[Created]] = {kind: [] for kind in KINDS}
        for turn in range(-1, given.rounds):
            for kind in KINDS:
                one = created(web, worker, kind, given.seconds)
                if turn >= 0:  # the first warms up
                    taken[kind].append(one)
        seconds = sorted(waits(web, given.droplets))
    resources, droplets = (taken[kind] for kind in KINDS)
    costs = [[one.cpu_micros for one in each] for each in (droplets, resources)]
    answers = [
        rates(
            f"POST droplet, {CONNECTIONS} connections",
            [one.per_second for one in droplets],
            [one.per_second for one in resources],
            peer="POST resource",
            cpu_micros=median(costs[0]),
        ),
        Answer(
            "a droplet until it is active / a resource with its task, processor time",
            f"{median(costs[0]):.0f} µs",
            f"{median(costs[1]):.0f} µs",
            median_ratio(*costs),
        ),
        Answer(
            "POST droplet → active, 1 client, p50",
            f"p95 {percentile(seconds, 0.95) * 1000:.1f} ms",
            "",
            percentile(seconds, 0.5) * 1000,
            unit="ms",
        ),
    ]
    figures = {kind: [asdict(one) for one in each] for kind, each in taken.items()}
    tell("droplets", answers, figures=figures, waits=seconds)


if __name__ == "__main__":
    main()
