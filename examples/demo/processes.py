"""Everything the demo runs: embedded servers, `clusterflow all`, three controllers; and how it all ends.

Each is a child in a session of its own, so Ctrl-C reaches the demo alone, which ends them in order. If the
demo itself is killed, the guards of the embedded stack end what is left: nothing outlives the demo.
"""

import os
import random
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import psutil

from deploy.embedded import Stack
from deploy.embedded.lock import DirectoryLock
from deploy.embedded.ports import CANDIDATES, HOST, is_free
from deploy.embedded.process import Child, Guard
from examples.demo.errors import DemoFailure

ROOT: Final = Path(__file__).parents[2]
CONTROLLERS: Final = ("gcp_network", "aws_network", "dns")
ROLES: Final = 3  # of `clusterflow all`: web, worker, sink
STOP_WITHIN: Final = 40.0  # seconds; `clusterflow all` gives its roles 35

# Half a minute of demo instead of half an hour of operation.
CLUSTERFLOW_PACE: Final = {
    "RECONCILIATION_CHECK_INTERVAL": "1s",
    "RECONCILIATION_UNHEALTHY_INTERVAL": "2s",
    "COMMAND_TIMEOUT": "25s",  # a write waits for the worker to come back
}
CONTROLLER_PACE: Final = {
    "CONTROLLER_RETRY_FIRST": "500ms",
    "CONTROLLER_RETRY_ATTEMPTS": "2",  # then a dead letter, and the next reconcile recovers
    "CONTROLLER_STOP_GRACE": "1s",
    "SIMULATED_WORK": "500ms",
}
UNLUCKY: Final = {"aws-network": "demo-aws-*2"}  # the controller whose provider refuses these at first


class Processes:
    """The programs of one demo, on one data directory."""

    def __init__(self, stack: Stack, guard: Guard, data_dir: Path) -> None:
        self.stack = stack
        self._guard = guard
        self._data_dir = data_dir
        self._children: dict[str, Child] = {}
        self._port = _free_ports(1 + ROLES)
        self.api_url = f"http://{HOST}:{self._port}"

    def start_clusterflow(self) -> None:
        """All roles, on the demo's servers."""
        environment = {
            **self.stack.environment(),
            **CLUSTERFLOW_PACE,
            "PORT": str(self._port),
            "BIND_HOST": HOST,
            "METRICS_PORT": str(self._port + 1),  # of the first role; the others follow
            "RUN_DIR": str(self._data_dir / "clusterflow"),
            "KAFKA_TOPIC_PREFIX": "",
            "KAFKA_REPLICATION": "1",
        }
        self._start("clusterflow", ["main", "all"], environment)

    def start_controllers(self) -> None:
        """The three controllers, each a program of its own."""
        environment = {
            **CONTROLLER_PACE,
            "KAFKA_BOOTSTRAP_SERVERS": self.stack.kafka.bootstrap_servers,
            "KAFKA_TOPIC_PREFIX": "",
            "CLUSTERFLOW_API_URL": self.api_url,
        }
        for name in CONTROLLERS:
            names = UNLUCKY.get(name.replace("_", "-"))
            failing = {} if names is None else {"SIMULATED_FAILURES": names}
            self._start(name, [f"examples.controllers.{name}"], {**environment, **failing})

    def check(self) -> None:
        """Raises: DemoFailure: one of them has ended by itself."""
        for name, child in self._children.items():
            if not child.running():
                raise DemoFailure(f"{name} has ended; the last of {child.log_path}:\n{child.log_tail()}")

    def worker(self) -> psutil.Process | None:
        """The worker's process, a child of `clusterflow all`; None while there is none."""
        try:
            children = psutil.Process(self._children["clusterflow"].pid).children(recursive=True)
            return next((child for child in children if "worker" in child.cmdline()), None)
        except psutil.Error:  # it ended while we looked
            return None

    def stop(self) -> None:
        """End them, controllers first; all are asked before the first is waited for."""
        for name in (*CONTROLLERS, "clusterflow"):
            child = self._children.get(name)
            if child is not None and child.running():
                os.kill(child.pid, signal.SIGTERM)
        for child in reversed(self._children.values()):
            child.stop(signal.SIGTERM, within=STOP_WITHIN)

    def _start(self, name: str, module: list[str], environment: Mapping[str, str]) -> None:
        self._children[name] = Child(
            [sys.executable, "-m", *module],
            guard=self._guard,
            log_path=self._data_dir / f"{name}.log",
            env={**os.environ, **environment},
            cwd=ROOT,
        )


@contextmanager
def processes(data_dir: Path) -> Iterator[Processes]:
    """Embedded servers on an emptied directory, and around whatever is started on them, their end.

    Raises: EmbeddedError: another demo runs on the directory, or a server doesn't start.
    """
    with ExitStack() as ending:
        lock = DirectoryLock(data_dir)
        ending.callback(lock.release)
        _empty(data_dir)
        guard = Guard(lock.fd)
        ending.callback(guard.close)
        stack = ending.enter_context(Stack(data_dir / "stack"))
        running = Processes(stack, guard, data_dir)
        ending.callback(running.stop)
        yield running


def _empty(data_dir: Path) -> None:
    """Remove what the last demo left, once its servers are gone for sure."""
    if (data_dir / "stack").exists():
        DirectoryLock(data_dir / "stack").release()
    for path in data_dir.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


def _free_ports(count: int) -> int:
    """The first of so many free ports in a row. Raises: DemoFailure."""
    for first in random.sample(CANDIDATES, 100):
        if all(map(is_free, range(first, first + count))):
            return first
    raise DemoFailure(f"found no {count} free ports in a row from {CANDIDATES.start} on")
