"""How long until all is well again: the figures of fail-over, each with a command that shows it."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

from aiokafka import AIOKafkaProducer

from bench.figures import percentile
from bench.stage import HOST, wait_ready
from bench.wire import AsyncConnection, request_bytes
from streams.settings import GROUP
from streams.topics import Topics
from tests.chaos.clients import HttpClient, create_clusters
from tests.chaos.fleet import Fleet
from tests.chaos.history import History, marked_spec
from tests.chaos.quiet import until_stored, until_worked_off

PROBES: Final = 24  # clusters that are written to all the time, spread over all partitions
PROBE_EVERY: Final = 0.05  # seconds
ANSWER_WITHIN: Final = 6.0  # seconds
FILLED_WITHIN: Final = 600.0  # seconds
UNDER_WAY: Final = 1.0  # seconds; no write of a healthy fleet takes so long
WATCHED: Final = 60.0  # seconds after a fault
OWNER: Final = "probe@example.com"


@dataclass(slots=True)
class Probe:
    """One cluster that is written to again and again: when writes were confirmed or failed."""

    connection: AsyncConnection
    cluster_id: str
    confirmed: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Write until cancelled."""
        path = f"/api/v1/clusters/{self.cluster_id}"
        wire = request_bytes("PUT", path, email=OWNER, body={"spec": marked_spec("probe")})
        while True:
            started = time.monotonic()
            try:
                status = (await self.connection.exchange(wire)).status
            except (OSError, EOFError, TimeoutError):
                status = 0
            if status == 200:
                self.confirmed.append(time.monotonic())
                self.took.append(time.monotonic() - started)
            else:
                self.failed.append(time.monotonic())
            await asyncio.sleep(PROBE_EVERY)

    def again_after(self, moment: float) -> float:
        """Seconds from a moment until writes are confirmed without a silence; infinite if never."""
        after = [at for at in self.confirmed if at >= moment]
        if not after:
            return float("inf")
        silent = [later for earlier, later in pairwise([moment, *after]) if later - earlier > UNDER_WAY]
        return max(silent, default=after[0]) - moment


@asynccontextmanager
async def probing(fleet: Fleet) -> AsyncIterator[list[Probe]]:
    """Probes that write while the block runs. Raises: RuntimeError: a cluster was not created."""

    def connection() -> AsyncConnection:
        return AsyncConnection(HOST, fleet.slot("web", 0).port, timeout=ANSWER_WITHIN)

    owner = HttpClient(OWNER.partition("@")[0], [connection()], History(), random.Random(1), ())
    probes = [Probe(connection(), cluster) for cluster in await create_clusters(owner, PROBES)]
    running = [asyncio.create_task(probe.run()) for probe in probes]
    try:
        yield probes
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def fill(fleet: Fleet, count: int) -> None:
    """Create that many clusters over Kafka. Raises: RuntimeError: they are not worked off in time."""
    draws, topics, servers = random.Random(count), Topics(), fleet.stage.bootstrap_servers
    producer = AIOKafkaProducer(bootstrap_servers=servers, enable_idempotence=True, linger_ms=20)
    async with producer:
        for number in range(count):
            owner, name = f"owner-{number % 1000}@example.com", f"cluster-{number}"
            message = _create(owner, name, draws)
            await producer.send(topics.create_requests, message, key=f"{owner}/{name}".encode())
        await producer.flush()
    # Each is filled from the one before.
    for inputs in ((topics.create_requests,), (topics.name_requests,), (topics.accepted_commands,)):
        left = await until_worked_off(servers, group=GROUP, topics=inputs, within=FILLED_WITHIN)
        if left:
            raise RuntimeError(f"not worked off: {left}")


def _create(owner: str, name: str, draws: random.Random) -> bytes:
    command: dict[str, Any] = {
        "command_id": str(UUID(int=draws.getrandbits(128), version=4)),
        "type": "cluster.create",
        "cluster_id": str(UUID(int=draws.getrandbits(128), version=4)),
        "user_email": owner,
        "issued_at": "2026-01-01T00:00:00Z",
        "name": name,
        "spec": marked_spec(name),
    }
    return json.dumps(command).encode()


async def killed_worker(fleet: Fleet) -> float:
    """Seconds from kill -9 of one of two workers until writes to every key are confirmed again."""
    async with probing(fleet) as probes:
        await asyncio.sleep(3.0)
        killed = time.monotonic()
        await fleet.kill(fleet.slot("worker", 0))
        await _all_again(probes, killed)
        await asyncio.sleep(5.0)  # a second rebalance would come by then
    return max(probe.again_after(killed) for probe in probes)


async def _all_again(probes: Sequence[Probe], since: float) -> None:
    """Wait until all have been confirmed well after the fault. Raises: TimeoutError."""
    settled = since + UNDER_WAY
    async with asyncio.timeout(WATCHED):
        while not all(probe.confirmed and probe.confirmed[-1] > settled for probe in probes):
            await asyncio.sleep(0.1)


async def restarted_web(fleet: Fleet) -> float:
    """Seconds from the start of a web process until it says that it is ready."""
    slot = fleet.slot("web", 0)
    await fleet.kill(slot)
    await fleet.start(slot)
    assert slot.process is not None
    return await asyncio.to_thread(wait_ready, slot.process)


@dataclass(frozen=True, slots=True)
class Away:
    """Writes with PostgreSQL there and away: p99 in milliseconds, how many failed, seconds to catch up."""

    p99_with: float
    p99_without: float
    failed: int
    caught_up: float


async def postgres_away(fleet: Fleet, *, seconds: float) -> Away:
    """The same writes for that long with PostgreSQL and without. Raises: RuntimeError: it never caught up."""
    async with probing(fleet) as probes:
        await asyncio.sleep(seconds)
        there = _taken(probes)
        await asyncio.to_thread(fleet.stack.postgres.stop)
        await asyncio.sleep(seconds)
        away = _taken(probes)
        failed = sum(len(probe.failed) for probe in probes)
    started = time.monotonic()
    await asyncio.to_thread(fleet.stack.postgres.start)
    topics, stage = Topics(), fleet.stage
    outputs = (topics.state, topics.events)
    left = await until_stored(
        stage.bootstrap_servers, stage.database_url, topics=outputs, within=FILLED_WITHIN
    )
    if left:
        raise RuntimeError(f"never caught up: {left}")
    return Away(_p99(there), _p99(away), failed, time.monotonic() - started)


def _taken(probes: Sequence[Probe]) -> list[float]:
    taken = [seconds for probe in probes for seconds in probe.took]
    for probe in probes:
        probe.took.clear()
    return taken


def _p99(seconds: Sequence[float]) -> float:
    return percentile(sorted(seconds), 0.99) * 1000
