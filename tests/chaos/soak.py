"""A long time of full load in a short one: does anything grow that should not?

The load changes, reports on and reads a fixed set of clusters: more clusters would rightly take more memory.
"""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psutil

from bench.stage import HOST
from bench.wire import AsyncConnection
from tests.chaos.clients import HttpClient, create_clusters
from tests.chaos.fleet import Fleet, Slot
from tests.chaos.history import History

WEBS: Final = 2  # web processes, as when its figures were first taken
SAMPLE_EVERY: Final = 5.0  # seconds
CLUSTERS: Final = 20  # of each client
SHARED: Final = 4
WARM_UP: Final = 0.3  # of the time, after which caches and heaps have found their size

HEADER: Final = ("process", "memory MiB", "MiB at the end", "% a minute", "files", "files at the end")


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process: seconds since the load began, bytes resident, open file descriptors."""

    at: float
    memory: int
    files: int


@dataclass(frozen=True, slots=True)
class Growth:
    """What became of a process after the warm-up: first and last sample, and the slope of its memory.

    `slope`: of the least-squares line through all samples, in per cent of their mean a minute.
    """

    name: str
    first: Sample
    last: Sample
    slope: float

    def row(self) -> Sequence[object]:
        """A line of the table."""
        mib = 2**20
        return (
            self.name, self.first.memory / mib, self.last.memory / mib, self.slope, self.first.files,
            self.last.files,
        )  # fmt: skip


def growth(name: str, samples: Sequence[Sample]) -> Growth:
    """Of the samples after the warm-up. Raises: ValueError: fewer than two are left."""
    since = samples[0].at + WARM_UP * (samples[-1].at - samples[0].at)
    steady = [sample for sample in samples if sample.at >= since]
    if len(steady) < 2:
        raise ValueError(f"too few samples of {name}")
    at = sum(sample.at for sample in steady) / len(steady)
    memory = sum(sample.memory for sample in steady) / len(steady)
    spread = sum((sample.at - at) ** 2 for sample in steady)
    slope = sum((sample.at - at) * (sample.memory - memory) for sample in steady) / spread
    return Growth(name, steady[0], steady[-1], slope * 60 / memory * 100)


class Steady(HttpClient):
    """A client whose load leaves no more clusters behind than there were."""

    async def operate(self) -> None:
        """One change, report or read."""
        (choice,) = self.random.choices(
            (self._update, self._update_shared, self._update_as_read, self._report, self._read),
            weights=(35, 15, 10, 20, 20),
        )
        await choice()


async def soak(fleet: Fleet, *, seconds: float, clients: int) -> tuple[list[Growth], float]:
    """Full load for that long; returns the growth of each role and the operations a second.

    Raises: NotReady: a role does not start. RuntimeError: one ended, or a write was never answered.
    """
    await fleet.start(*_webs(fleet), *fleet.of("worker")[:2], *fleet.of("sink"))
    history = History()
    steady = await _clients(fleet, history, clients)
    stop, start = asyncio.Event(), time.monotonic()
    async with asyncio.TaskGroup() as load:
        for client in steady:
            load.create_task(client.run(stop))
        samples = await _sampled(fleet, history, seconds)
        stop.set()
    if history.unanswered:
        raise RuntimeError(f"never answered: {history.unanswered[:5]}")
    rate = len(history.operations) / (time.monotonic() - start)
    return [growth(name, taken) for name, taken in samples.items()], rate


def _webs(fleet: Fleet) -> list[Slot]:
    return fleet.of("web")[:WEBS]


async def _clients(fleet: Fleet, history: History, count: int) -> list[Steady]:
    draws = random.Random(1)

    def client(name: str, web: int, shared: Sequence[str] = ()) -> Steady:
        doors = [AsyncConnection(HOST, slot.port) for slot in _webs(fleet)]
        return Steady(name, doors, history, random.Random(draws.random()), shared, web=web)

    shared = await create_clusters(client("everyone", 0), SHARED)
    clients = [client(f"client-{number}", number % WEBS, shared) for number in range(count)]
    for each in clients:
        await create_clusters(each, CLUSTERS)
    return clients


async def _sampled(fleet: Fleet, history: History, seconds: float) -> Mapping[str, list[Sample]]:
    samples: dict[str, list[Sample]] = defaultdict(list)
    start = time.monotonic()
    while (at := time.monotonic() - start) < seconds:
        for slot in fleet.slots:
            if slot.wanted and slot.process is not None:
                process = psutil.Process(slot.process.pid)
                with process.oneshot():
                    sample = Sample(at, process.memory_info().rss, process.num_fds())
                samples[slot.name].append(sample)
        history.attempts.clear()  # ours is not the memory that is watched, but it is the same machine's
        history.reads.clear()
        await asyncio.sleep(SAMPLE_EVERY)
    return samples
