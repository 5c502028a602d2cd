"""Kafka, PostgreSQL and Valkey on one data directory, started and stopped together."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.kafka import Kafka
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
    ) -> None:
        """Start nothing yet. A port of None is the one remembered from the last time if it is still free, else any free one."""
        self.data_dir = data_dir.absolute()
        self._lock: DirectoryLock | None = None
        self._guard: Guard | None = None
        ports = Ports(self.data_dir / "ports.json")
        self.kafka = Kafka(self.data_dir, port=kafka_port, ports=ports, guard=self._running_guard)
        self.postgres = Postgres(self.data_dir, port=postgres_port, ports=ports, guard=self._running_guard)
        self.valkey = Valkey(self.data_dir, port=valkey_port, ports=ports, guard=self._running_guard)

    def start(self, services: Iterable[str] = SERVICES) -> None:
        """Start the named servers at the same time and wait until each answers; those that run already are left alone.

        Raises: EmbeddedError: another stack runs on the directory, or a server did not start; then none of this stack runs.
        """
        servers = [self._servers()[name] for name in services]
        if self._guard is None:
            self._lock = DirectoryLock(self.data_dir)
            self._guard = Guard(self._lock.fd)
        with ThreadPoolExecutor(max_workers=len(SERVICES)) as threads:
            starts = [threads.submit(server.start) for server in servers]
            try:
                failures = [error for start in starts if (error := start.exception()) is not None]
            except BaseException:  # Ctrl-C
                for server in servers:
                    server.kill()  # so that the threads stop waiting for it
                self.stop()
                raise
        if failures:
            self.stop()
            raise failures[0]

    def stop(self) -> None:
        """Stop what runs, each server gracefully, and let other stacks use the directory."""
        for server in reversed(self._servers().values()):
            server.stop()
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def environment(self) -> dict[str, str]:
        """The variables that point a Clusterflow program at the servers that run."""
        urls = {
            self.kafka: lambda: self.kafka.bootstrap_servers,
            self.postgres: lambda: self.postgres.url,
            self.valkey: lambda: self.valkey.url,
        }
        return {server.url_variable: url() for server, url in urls.items() if server.running()}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _servers(self) -> dict[str, Server]:
        return {server.name: server for server in (self.kafka, self.postgres, self.valkey)}

    def _running_guard(self) -> Guard:
        if self._guard is None:
            raise EmbeddedError("start the stack before one of its servers")
        return self._guard
