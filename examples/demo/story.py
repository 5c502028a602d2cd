"""The demo's story, step by step: start, create, kill the worker in the middle, wait until all is settled.

Every step waits for what it promises to show. None of them ends by itself: the caller bounds them all.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from examples.demo.errors import DemoFailure
from examples.demo.fleet import Fleet
from examples.demo.operations import Operations
from examples.demo.processes import Processes
from examples.demo.progress import Progress, SeenCluster
from examples.demo.screen import Screen
from examples.demo.summary import Account, agreed

POLL: Final = 0.25  # seconds between two looks at the API
KILL_AT: Final = 0.3  # share of the clusters that are Ready when the worker is killed
CHANGED_SHARE: Final = 0.1  # of the clusters get a new spec while no worker runs
NEW_DOMAIN: Final = "moved.example.com"


class Story:
    """One run of the demo."""

    def __init__(self, running: Processes, fleet: Fleet, progress: Progress, screen: Screen) -> None:
        self._running = running
        self._fleet = fleet
        self._progress = progress
        self._screen = screen

    async def start(self) -> None:
        """Clusterflow and the controllers. Raises: DemoFailure."""
        step = self._progress.begin("Clusterflow starts: web, worker, sink")
        self._running.start_clusterflow()
        while not await self._fleet.healthy():
            self._running.check()
            self._screen.tick()
            await asyncio.sleep(POLL)
        self._running.start_controllers()
        self._progress.end(step, f"Clusterflow answers at {self._running.api_url}")
        self._screen.tick()

    async def tell(self, database_url: str) -> Account:
        """From the first cluster to PostgreSQL's account of them all. Raises: DemoFailure."""
        await self._create()
        step = self._progress.begin("three controllers make the first clusters Ready")
        enough = self._progress.wanted * KILL_AT
        await self._until(lambda: self._progress.ready() >= enough)
        self._progress.end(step)
        await self._change_without_worker()
        step = self._progress.begin("every cluster Ready for all its controllers, at its newest generation")
        await self._until(self._progress.settled)
        self._progress.end(step)
        operations = Operations(self._running, self._fleet, self._progress, self._screen)
        await operations.tell(database_url)
        step = self._progress.begin("PostgreSQL is compared with the API")
        account = await agreed(database_url, self._fleet, self._progress)
        self._progress.end(step, "PostgreSQL tells the same as the API")
        self._screen.tick()
        return account

    async def _create(self) -> None:
        wanted, platforms = self._progress.wanted, sorted(self._progress.expected)
        step = self._progress.begin(f"{wanted} clusters are created")
        places = [(platforms[n % len(platforms)], n // len(platforms) + 1) for n in range(wanted)]
        await self._written(
            "cluster.created",
            (self._fleet.create(f"demo-{platform}-{number:02}", platform) for platform, number in places),
        )
        self._progress.end(step, f"{wanted} clusters created")

    async def _change_without_worker(self) -> None:
        """Kill the worker, and write while there is none: what is accepted is kept, and answered late."""
        ready = self._progress.ready()
        victim = self._running.worker()
        if victim is None:
            raise DemoFailure("found no worker below `clusterflow all`, so there is none to kill")
        victim.kill()
        self._progress.note("worker", f"kill -9 {victim.pid}", "bold red")
        killed = self._progress.begin(f"kill -9 {victim.pid}: the worker is gone, {ready} clusters are Ready")
        self._progress.end(killed)
        count = max(1, round(self._progress.wanted * CHANGED_SHARE))
        chosen = sorted(self._progress.clusters.values(), key=lambda seen: seen.name)[:count]
        step = self._progress.begin(f"{count} specs change while no worker runs")
        await self._written("cluster.updated", (self._fleet.move(seen, NEW_DOMAIN) for seen in chosen))
        self._progress.end(step, f"{count} specs changed meanwhile, answered by a new worker")

    async def _written(self, event_type: str, writes: Iterable[Coroutine[Any, Any, SeenCluster]]) -> None:
        """Wait for writes side by side, with an eye on the fleet."""
        writing = asyncio.gather(*writes)
        try:
            await self._until(writing.done)
            for seen in await writing:
                self._progress.see_write(seen, event_type)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._running.check()
            for seen in await self._fleet.clusters():
                self._progress.see_cluster(seen)
            self._screen.tick()
            await asyncio.sleep(POLL)
