"""The stage of a measurement: real servers and roles, each a process of its own as in production.

    with Stage(Path(".run/bench/x")) as stage:
        web, worker = stage.start("web"), stage.start("worker")
        wait_ready(web, worker)

Servers come from the embedded stack unless addresses are given; what was measured inside one process with
fakes would say nothing about acknowledgement, fetching and rebalance, which is where the time goes.
"""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.embedded import Stack
from deploy.embedded.ports import free_port, listens
from deploy.embedded.server import Server
from deploy.embedded.stack import SERVICES

HOST = "127.0.0.1"
REPOSITORY = Path(__file__).resolve().parent.parent
READY_WITHIN = 60.0  # seconds
STOP_WITHIN = 35.0  # seconds; a role drains for up to 30

# Of every process that is measured: compiling is no part of a start, whatever this shell says of bytecode.
BYTECODE = {
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONPYCACHEPREFIX": str(REPOSITORY / ".run" / "bench" / "bytecode"),
}


class NotReady(RuntimeError):
    """A role did not come up; the text ends with the end of its log."""


@dataclass(slots=True)
class RoleProcess:
    """One running role; `replaced` once another has been started in its place."""

    name: str
    process: "subprocess.Popen[bytes]"
    port: int
    metrics_port: int
    log: Path
    started: float = field(default_factory=time.monotonic)
    replaced: bool = False

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    def running(self) -> bool:
        """Whether the process lives."""
        return self.process.poll() is None

    def ended(self) -> bool:
        """Whether the process has ended by itself, and not by a signal."""
        return (self.process.poll() or 0) > 0

    def ready(self) -> bool:
        """What the role says itself on `/ready`; nobody else is asked who may have its port."""
        if not listens(self.pid, self.metrics_port):
            return False
        connection = http.client.HTTPConnection(HOST, self.metrics_port, timeout=1.0)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """End it as a crash would: SIGKILL, nothing flushed."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Let it end by itself, then make it."""
        if not self.running():
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def wait_ready(*roles: RoleProcess, within: float = READY_WITHIN) -> float:
    """Wait until all are ready; returns the seconds since the first was started.

    Raises: NotReady: one ended, or is not ready in time.
    """
    waiting = list(roles)
    deadline = time.monotonic() + within
    while waiting:
        for role in list(waiting):
            if not role.running():
                raise NotReady(f"{role.name} ended with {role.process.returncode}\n{role.tail()}")
            if role.ready():
                waiting.remove(role)
        if time.monotonic() > deadline:
            names = ", ".join(role.name for role in waiting)
            raise NotReady(f"not ready after {within:.0f} s: {names}\n{waiting[0].tail() if waiting else ''}")
        time.sleep(0.02)
    return time.monotonic() - min(role.started for role in roles)


def give_way(roles: Mapping[str, RoleProcess], niceness: Mapping[str, int]) -> None:
    """Let some roles yield to the others as far as this says, by role."""
    for name, value in niceness.items():
        os.setpriority(os.PRIO_PROCESS, roles[name].pid, value)


class Stage:
    """Servers, declared topics, a migrated database, and the roles started on them.

    Args:
        directory: For data and logs of this stage alone.
        environment: Settings of every role; with `KAFKA_BOOTSTRAP_SERVERS` and `DATABASE_URL` in it, no
            embedded servers are started.
        stack: The embedded servers, if they are to be others than Kafka and PostgreSQL as they come.
    """

    def __init__(
        self, directory: Path, environment: Mapping[str, str] | None = None, *, stack: Stack | None = None
    ) -> None:
        self.directory = directory.absolute()
        self.roles: list[RoleProcess] = []
        self._given = stack
        self._stack: Stack | None = None
        self._settings = {
            "KAFKA_REPLICATION": "1",
            "CLUSTERFLOW_PARENT": str(os.getpid()),
            **(environment or {}),
        }

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        if "KAFKA_BOOTSTRAP_SERVERS" not in self._settings:
            self._stack = self._given or Stack(self.directory)
            self._stack.start(("kafka", "postgres") if self._given is None else SERVICES)
            self._settings |= self._stack.environment()
        try:
            for command in ("topics", "migrate"):
                self.run(command)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def kafka(self) -> Server:
        """The embedded Kafka, to be killed and started. Raises: ValueError: it is not ours."""
        if self._stack is None:
            raise ValueError("Kafka was given by its address")
        return self._stack.kafka

    @property
    def bootstrap_servers(self) -> str:
        """Of Kafka."""
        return self._settings["KAFKA_BOOTSTRAP_SERVERS"]

    @property
    def database_url(self) -> str:
        """Of PostgreSQL."""
        return self._settings["DATABASE_URL"]

    def start(
        self,
        name: str,
        *,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
        code: Path = REPOSITORY,
    ) -> RoleProcess:
        """Start a role, on any free port unless told; its log is `<directory>/logs/<name>-<number>.log`.

        `environment`: what this one has otherwise than others. `code`: the directory of the version to run.
        """
        log = self.directory / "logs" / f"{name}-{len(self.roles)}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        port, metrics_port = port or free_port(), free_port()
        served = "GRPC_SERVICE_PORT" if name == "grpc" else "PORT"
        ports = {served: str(port), "METRICS_PORT": str(metrics_port)}
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "main", name],
                cwd=code,
                env=self.environment() | ports | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        role = RoleProcess(name, process, port, metrics_port, log)
        self.roles.append(role)
        return role

    def running(self, name: str) -> list[RoleProcess]:
        """The living processes of a role, in the order of their start."""
        return [role for role in self.roles if role.name == name and role.running()]

    def run(self, *command: str) -> None:
        """Run a one-shot command. Raises: NotReady: it failed."""
        done = subprocess.run(
            [sys.executable, "-m", "main", *command],
            cwd=REPOSITORY,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise NotReady(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    def environment(self) -> dict[str, str]:
        """Of every role and helper process."""
        return {**os.environ, **BYTECODE, **self._settings}

    def stop(self) -> None:
        """Stop every role in the order of their start, then the servers."""
        for role in self.roles:
            role.stop()
        if self._stack is not None:
            self._stack.stop()
            self._stack = None
