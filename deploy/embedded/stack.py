"""Kafka, PostgreSQL and Valkey on one data directory, started and stopped together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.kafka.brokers import Broker, Quorum
from deploy.embedded.kafka.node import Kafka
from deploy.embedded.lock import DirectoryLock
from deploy.embedded.ports import Ports
from deploy.embedded.postgres import Postgres
from deploy.embedded.process import Guard
from deploy.embedded.server import Server
from deploy.embedded.valkey import Valkey

SERVICES = ("kafka", "postgres", "valkey")


class Stack:
    """The embedded servers of one data directory.

    All calls block; from asyncio use `asyncio.to_thread`. The servers die with this process, however it ends.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        kafka_port: int | None = None,
        postgres_port: int | None = None,
        valkey_port: int | None = None,
        brokers: int = 1,
    ) -> None:
        """Start nothing yet. Port None: the one of the last time if it is still free, else any free one.

        Several brokers choose their ports themselves, and take three copies of every record.
        """
        self.data_dir = data_dir.absolute()
        self._lock: DirectoryLock | None = None
        self._guard: Guard | None = None
        ports = Ports(self.data_dir / "ports.json")
        self.brokers: Sequence[Kafka] = (
            [self._single(kafka_port, ports, self._running_guard)]
            if brokers == 1
            else self._cluster(Quorum(self.data_dir, nodes=brokers, ports=ports), ports, self._running_guard)
        )
        self.postgres = Postgres(self.data_dir, port=postgres_port, ports=ports, guard=self._running_guard)
        self.valkey = Valkey(self.data_dir, port=valkey_port, ports=ports, guard=self._running_guard)

    @property
    def kafka(self) -> Kafka:
        """The one broker, or the first of several."""
        return self.brokers[0]

    def start(self, services: Iterable[str] = SERVICES) -> None:
        """Start the named servers in parallel and wait until each answers; those that run are left alone.

        Raises: EmbeddedError: another stack runs on the directory, or a server failed; then none is left.
        """
        servers = [server for name in services for server in self._servers()[name]]
        if self._guard is None:
            self._lock = DirectoryLock(self.data_dir)
            self._guard = Guard(self._lock.fd)
        try:
            _start_all(servers)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop what runs, each server gracefully, and let other stacks use the directory."""
        try:
            for servers in reversed(self._servers().values()):
                _stop_all(servers)
        finally:  # a second Ctrl-C comes here early: the guard kills what is left
            if self._guard is not None:
                self._guard.close()
                self._guard = None
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def environment(self) -> dict[str, str]:
        """The variables that point a Clusterflow program at the servers that run."""
        variables = {}
        if running := [broker for broker in self.brokers if broker.running()]:
            variables[Kafka.url_variable] = ",".join(broker.bootstrap_servers for broker in running)
        if self.postgres.running():
            variables[self.postgres.url_variable] = self.postgres.url
        if self.valkey.running():
            variables[self.valkey.url_variable] = self.valkey.url
        return variables

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _servers(self) -> dict[str, Sequence[Server]]:
        return {"kafka": self.brokers, "postgres": [self.postgres], "valkey": [self.valkey]}

    def _single(self, port: int | None, ports: Ports, guard: Callable[[], Guard]) -> Kafka:
        return Kafka(self.data_dir, port=port, ports=ports, guard=guard)

    def _cluster(self, quorum: Quorum, ports: Ports, guard: Callable[[], Guard]) -> Sequence[Kafka]:
        return [
            Broker(self.data_dir, node=node, quorum=quorum, ports=ports, guard=guard) for node in quorum.nodes
        ]

    def _running_guard(self) -> Guard:
        if self._guard is None:
            raise EmbeddedError("start the stack before one of its servers")
        return self._guard


def _start_all(servers: list[Server]) -> None:
    """Start them in parallel, once all have their ports. Raises EmbeddedError with what failed for each."""
    for server in servers:
        server.allow()
    _settle_ports(servers)
    with ThreadPoolExecutor(max_workers=max(1, len(servers))) as threads:
        starts = [threads.submit(server.start) for server in servers]
        try:
            wait(starts)
        except BaseException:  # Ctrl-C: leaving this block waits for the threads
            for server in servers:
                server.abort()
            raise
    failures = [error for start in starts if (error := start.exception()) is not None]
    for error in failures:
        if not isinstance(error, EmbeddedError):
            raise error
    if failures:
        raise EmbeddedError("\n".join(str(error) for error in failures)) from failures[0]


def _stop_all(servers: Sequence[Server]) -> None:
    """Stop them in parallel: the last controllers would wait for a majority that has ended."""
    with ThreadPoolExecutor(max_workers=len(servers)) as threads:
        list(threads.map(lambda server: server.stop(), servers))


def _settle_ports(servers: list[Server]) -> None:
    failures = []
    for server in servers:
        try:
            server.settle_port()
        except EmbeddedError as error:
            failures.append(error)
    if failures:
        raise EmbeddedError("\n".join(map(str, failures))) from failures[0]
