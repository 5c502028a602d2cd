"""What operators do to one of the clusters: jobs, telemetry, a diagnosis, a policy, and a limit.

Every step waits for what it promises to show, and in the end PostgreSQL must know the same droplets and jobs
as the API, and Kafka must have told of each.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import asyncpg
from aiokafka import AIOKafkaProducer

from examples.demo.errors import DemoFailure
from examples.demo.fleet import Fleet
from examples.demo.processes import Processes
from examples.demo.progress import Progress
from examples.demo.screen import Screen
from examples.demo.watch import EVENTS

T = TypeVar("T")

POLL: Final = 0.2  # seconds
JOBS: Final = 3  # as many as a user may ask for at once
DROPLETS: Final = JOBS + 1  # that its policy allows
LOAD: Final = 95.0  # percent
AGREE_WITHIN: Final = 20.0  # seconds

ROWS: Final = """
SELECT id, status FROM droplets WHERE cluster_id = $1
UNION ALL SELECT id, status FROM jobs WHERE cluster_id = $1
"""


class Operations:
    """The second act of the demo."""

    def __init__(self, running: Processes, fleet: Fleet, progress: Progress, screen: Screen) -> None:
        self._running = running
        self._fleet = fleet
        self._progress = progress
        self._screen = screen
        self._cluster = ""

    async def tell(self, database_url: str) -> None:
        """From the first job to PostgreSQL's account of them. Raises: DemoFailure."""
        chosen = min(self._progress.clusters.values(), key=lambda seen: seen.name)
        self._cluster = chosen.id
        await self._provision(chosen.name)
        await self._measure()
        await self._scale(chosen.name)
        await self._compare(database_url)

    async def _provision(self, name: str) -> None:
        step = self._progress.begin(f"{JOBS} jobs provision droplets of {name}")
        body = {"type": "provision", "parameters": {"cluster_id": self._cluster}}
        for _ in range(JOBS):
            await self._done("POST", "/jobs", body, status=201)
        status, headers, _ = await self._fleet.ask("POST", "/jobs", body)
        if status != 429:
            raise DemoFailure(f"a job more than may be asked for at once was answered {status}")
        self._progress.note("limit", f"one job more: 429, again in {headers['Retry-After']} s", "yellow")
        await self._until(self._active, lambda found: len(found) == JOBS)
        self._progress.end(step, f"{JOBS} droplets by as many jobs, one more turned away by its limit (429)")

    async def _measure(self) -> None:
        step = self._progress.begin(f"a node tells by Kafka that its processors are at {LOAD:g} %")
        event = {
            "event_id": str(uuid.uuid4()),
            "type": "telemetry",
            "cluster_id": self._cluster,
            "timestamp": datetime.now(UTC).isoformat(),
            "payload": {"metrics": [{"type": "cpu", "value": LOAD}]},
        }
        async with AIOKafkaProducer(
            bootstrap_servers=self._running.stack.kafka.bootstrap_servers, acks="all"
        ) as producer:
            await producer.send_and_wait(EVENTS, json.dumps(event).encode(), key=self._cluster.encode())
        check = await self._until(
            lambda: self._done("GET", f"/health/{self._cluster}"), lambda found: found["status"] == "warning"
        )
        found = await self._done("POST", "/diagnosis/diagnose", {"cluster_id": self._cluster})
        self._progress.note("diagnosis", found["recommendations"][0], "yellow")
        self._progress.end(step, f"telemetry by Kafka: {check['issues'][0]}; diagnosed as {check['status']}")

    async def _scale(self, name: str) -> None:
        step = self._progress.begin(f"a policy makes {name} larger")
        policy = {
            "name": "by load",
            "cluster_id": self._cluster,
            "type": "metrics",
            "metric_type": "cpu",
            "metric_trigger": 0.8,
            "max_replicas": DROPLETS,
        }
        await self._done("POST", "/autoscaling/policies", policy, status=201)

        async def evaluated() -> list[str]:
            found = await self._done("POST", f"/autoscaling/evaluate?cluster_id={self._cluster}")
            actions: list[str] = found["actions"]
            return actions

        (action,) = await self._until(evaluated, bool)
        self._progress.note("policy", action.partition(" -> ")[2], "green")
        await self._until(self._active, lambda found: len(found) == DROPLETS)
        self._progress.end(step, f"a policy made {name} larger: {DROPLETS} droplets, and no more")

    async def _compare(self, database_url: str) -> None:
        step = self._progress.begin("droplets and jobs are compared: API, PostgreSQL, events")
        connection = await asyncpg.connect(database_url)
        deadline = time.monotonic() + AGREE_WITHIN
        try:
            while (found := await self._differences(connection)) and time.monotonic() < deadline:
                self._screen.tick()
                await asyncio.sleep(POLL)
        finally:
            await connection.close()
        if found:
            raise DemoFailure("API, PostgreSQL and events tell otherwise:\n  " + "\n  ".join(found))
        self._progress.end(step, f"API, PostgreSQL and events agree: {DROPLETS} droplets, {JOBS} jobs")

    async def _differences(self, connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
        told = {each["id"]: each["status"] for each in await self._active()}
        jobs = await self._done("GET", f"/jobs?cluster_id={self._cluster}")
        told |= {each["id"]: each["status"] for each in jobs["jobs"]}
        rows = {row["id"]: row["status"] for row in await connection.fetch(ROWS, self._cluster)}
        kinds = list(self._progress.events.values())
        wanted = {"droplet.created": DROPLETS, "job.completed": JOBS, "autoscale.action": 1}
        return [
            *(f"{id} is {rows.get(id)} in PostgreSQL" for id in told if told[id] != rows.get(id)),
            *(f"{id} is in PostgreSQL alone" for id in rows.keys() - told.keys()),
            *(f"{kinds.count(kind)} {kind} events" for kind in wanted if kinds.count(kind) != wanted[kind]),
        ]

    async def _active(self) -> list[dict[str, Any]]:
        found = await self._done("GET", f"/droplets?cluster_id={self._cluster}")
        return [each for each in found["droplets"] if each["status"] == "active"]

    async def _done(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """What a request is answered with. Raises: DemoFailure: with another status."""
        found, _, answer = await self._fleet.ask(method, path, body)
        if found != status:
            raise DemoFailure(f"{method} {path} answered {found}: {answer}")
        return answer

    async def _until(self, ask: Callable[[], Awaitable[T]], enough: Callable[[T], bool]) -> T:
        """Ask until the answer is as wanted; the caller bounds the time."""
        while not enough(answer := await ask()):
            self._running.check()
            self._screen.tick()
            await asyncio.sleep(POLL)
        self._screen.tick()
        return answer
