"""The processes of a run: roles in numbered slots, each behind links of its own that can be cut apart.

web-0 … web-2, worker-0 … worker-2,
    sink-0, executor-0, recorder-0,
    relay-0, relay-1                          to Kafka, each over its own link to each broker
the brokers, where there are several          to one another, over a link each way
sink-0, recorder-0, relay-0, relay-1          to PostgreSQL, over a link of all
clients                                       to web-0 … web-2, over a link each
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit, urlunsplit

from bench.stage import RoleProcess, Stage, wait_ready
from deploy.embedded.ports import free_port
from tests.chaos.linked import LinkedStack, Way, ways_between
from tests.chaos.links import Link
from tests.chaos.nodes import Nodes
from tests.chaos.servers import Clock, Disk

WEBS: Final = 3  # so that a write through one can be read through two others
WORKERS: Final = 3  # slots; the third is empty unless a fault scales out
SINKS: Final = 1
EXECUTORS: Final = 1
RECORDERS: Final = 1
RELAYS: Final = 2  # of which one stands by
RESTART_AFTER: Final = 0.5  # seconds until a supervisor starts again what has ended by itself
PARTITIONS: Final = 6
CLOCKED: Final = 1  # the worker whose clock can be stepped


@dataclass(slots=True)
class Slot:
    """A place for one process of a role; `wanted` while one should run there."""

    role: str
    number: int
    ways: list[Way]
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    process: RoleProcess | None = None
    wanted: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while its process is changed: the supervisor and a fault must not both start one."""

    @property
    def name(self) -> str:
        """As in `worker-1`."""
        return f"{self.role}-{self.number}"

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.running()


class Fleet:
    """Servers, links and roles of one run; an asynchronous context manager around it."""

    def __init__(
        self, directory: Path, *, session: float, environment: Mapping[str, str], brokers: int = 1
    ) -> None:
        """`session`: Kafka's session time-out of the workers, in seconds."""
        self.directory = directory
        self.session = session
        numbers = range(1, brokers + 1)
        counts = {
            "web": WEBS,
            "worker": WORKERS,
            "sink": SINKS,
            "executor": EXECUTORS,
            "recorder": RECORDERS,
            "relay": RELAYS,
        }
        self.slots = [
            Slot(role, number, [Way(f"{role}{number}".upper(), node) for node in numbers])
            for role, count in counts.items()
            for number in range(count)
        ]
        self.between = ways_between(numbers)
        self.doors = [Link(f"client-web-{number}") for number in range(WEBS)]
        self.postgres_link = Link("sink-postgres")
        self.disk = Disk(directory / "postgres")
        self.has_disk = False
        self.clock = Clock(directory)
        self.moments: list[tuple[float, str]] = []
        self._brokers = brokers
        self._environment = {
            "KAFKA_REPLICATION": str(brokers),
            "KAFKA_SESSION_TIMEOUT": f"{session:.0f}s",
            "KAFKA_PARTITIONS": str(PARTITIONS),
            "RECONCILIATION_CHECK_INTERVAL": "5s",
            "COMMAND_TIMEOUT": "5s",
            "TASK_LEASE": "5s",
            "JOB_LEASE_SECONDS": "5",
            "JOB_MAX_ATTEMPTS": "5",  # a lease of 5 s lapses in each of several faults in a row
            "CLUSTERGENIE_JOBS_CAP": "1000000",  # what limits do under faults is asked of one of its own
            "CLUSTERGENIE_DIAG_CAP": "1000000",
            **environment,
        }

    async def __aenter__(self) -> Self:
        for link in self._links():
            await link.start()
        ways = [*self.between, *(way for slot in self.slots for way in slot.ways)]
        self.stack = LinkedStack(self.directory.absolute(), ways, brokers=self._brokers)
        self.nodes = Nodes(self.stack.brokers)
        self.has_disk = all(disk.mount() for disk in self._disks())
        for node in self.stack.nodes:
            node.has_clock = node.clock.build()
        self.stage = Stage(self.directory, self._environment, stack=self.stack)
        try:
            await asyncio.to_thread(self.stage.__enter__)
            self._connect()
        except BaseException:
            await self._clear()
            raise
        self._supervisor = asyncio.create_task(self._supervise(), name="supervisor")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._supervisor.cancel()
        await asyncio.gather(self._supervisor, return_exceptions=True)
        for slot in self.slots:  # gracefully only if asked before: by now nobody looks any more
            if slot.process is not None and slot.running:
                slot.process.kill()
        await self._clear()

    async def _clear(self) -> None:
        await asyncio.to_thread(self.stage.stop)
        for link in self._links():
            await link.stop()
        if self.has_disk:
            for disk in self._disks():
                disk.unmount()

    def _disks(self) -> list[Disk]:
        return [self.disk, *(node.disk for node in self.stack.nodes)]

    def _links(self) -> list[Link]:
        ways = [*self.between, *(way for slot in self.slots for way in slot.ways)]
        return [*(way.link for way in ways), *self.doors, self.postgres_link]

    def _connect(self) -> None:
        """Tell the links where they lead to, and the roles to use them."""
        url = urlsplit(self.stage.database_url)
        self.postgres_link.target = url.port or 0
        linked = url._replace(netloc=f"{url.username}:{url.password}@{self.postgres_link.address}")
        for slot in self.slots:
            addresses = ",".join(way.link.address for way in slot.ways)
            slot.environment["KAFKA_BOOTSTRAP_SERVERS"] = addresses
            if slot.role in ("sink", "recorder", "relay"):
                slot.environment["DATABASE_URL"] = urlunsplit(linked)
        for door, slot in zip(self.doors, self.of("web"), strict=True):
            door.target = slot.port
        if self.clock.build():
            self.slot("worker", CLOCKED).environment |= self.clock.environment()

    # --- slots ------------------------------------------------------------------------------------

    def of(self, role: str) -> list[Slot]:
        """The slots of a role."""
        return [slot for slot in self.slots if slot.role == role]

    def slot(self, role: str, number: int) -> Slot:
        """One slot."""
        return self.of(role)[number]

    def links(self, name: str) -> list[Link]:
        """The links of a name, as in `sink-postgres`; `WORKER1` are those of a worker to all brokers."""
        return [link for link in self._links() if link.name.partition("@")[0] == name]

    async def start(self, *slots: Slot) -> None:
        """Start a process in each and wait until all are ready. Raises: NotReady: one is not in time."""
        for slot in slots:
            async with slot.lock:
                slot.wanted = True
                slot.process = await self._process(slot)
        await asyncio.to_thread(wait_ready, *(slot.process for slot in slots if slot.process))

    async def _process(self, slot: Slot) -> RoleProcess:
        return await asyncio.to_thread(
            self.stage.start, slot.role, port=slot.port, environment=slot.environment
        )

    async def kill(self, slot: Slot) -> None:
        """SIGKILL; nobody starts it again but `start`."""
        async with slot.lock:
            slot.wanted = False
            if slot.process is not None and slot.running:
                await asyncio.to_thread(slot.process.kill)

    async def stop(self, slot: Slot) -> None:
        """SIGTERM, and wait for its end; nobody starts it again but `start`."""
        async with slot.lock:
            slot.wanted = False
            if slot.process is not None:
                await asyncio.to_thread(slot.process.stop)

    async def end_workers(self) -> None:
        """Stop all workers, for good."""
        await asyncio.gather(*(self.stop(slot) for slot in self.of("worker")))

    def note(self, what: str) -> None:
        """Write down that something happened now."""
        self.moments.append((time.monotonic(), what))

    async def _supervise(self) -> None:
        """Start again what has ended by itself, as any supervisor does."""
        while True:
            await asyncio.sleep(RESTART_AFTER)
            for slot in self.slots:
                if slot.lock.locked():
                    continue
                async with slot.lock:
                    if slot.wanted and slot.process is not None and not slot.running:
                        self.note(f"{slot.name} ended by itself with {slot.process.process.returncode}")
                        slot.process = await self._process(slot)
