"""The life of one embedded server: prepare, start, wait until it answers, stop.

Kafka, PostgreSQL and Valkey differ in a few facts only (a command line, a question that shows it is ready, a
signal that stops it); those are the methods a subclass fills in.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.ports import Ports, holder, listens
from deploy.embedded.private import private_directory
from deploy.embedded.process import Child, Guard

POLL = 0.03  # seconds between two questions whether a server is ready
LOOK_AGAIN = 0.5  # seconds between two looks at a port that is taken
PASSING_WITHIN = 75.0  # seconds; how long ended connections keep a port on Linux, and a bit

logger = logging.getLogger(__name__)


class Server(ABC):
    """One server with its own directory, port and log file, all of which outlive a restart."""

    name: str  # as in file names and `Stack.start(services=…)`
    title: str  # as in messages
    url_variable: str  # the environment variable that names a server to use instead of this one
    stop_signal = signal.SIGTERM
    start_within = 60.0  # seconds
    stop_within = 30.0  # seconds

    def __init__(self, data_dir: Path, *, port: int | None, ports: Ports, guard: Callable[[], Guard]) -> None:
        """Port None: the remembered or a free one. `guard` raises EmbeddedError before the stack starts."""
        self.dir = data_dir / self.name
        self.log_path = data_dir / "logs" / f"{self.name}.log"
        self._configured_port = port
        self._ports = ports
        self._guard = guard
        self._port: int | None = None
        self._child: Child | None = None
        self._aborted = threading.Event()

    @property
    def port(self) -> int:
        """The port it listens on. Raises EmbeddedError before the first start."""
        if self._port is None:
            raise EmbeddedError(f"{self.title} was not started yet")
        return self._port

    @property
    def pid(self) -> int:
        """Its process id. Raises EmbeddedError while it does not run."""
        if self._child is None:
            raise EmbeddedError(f"{self.title} does not run")
        return self._child.pid

    def running(self) -> bool:
        """Whether its process runs now."""
        return self._child is not None and self._child.running()

    def start(self) -> None:
        """Start it and wait until it answers; nothing when it runs already.

        Raises: EmbeddedError: port taken, something missing, or the server failed (with the end of its log).
        """
        if self.running():
            return
        guard = self._guard()
        private_directory(self.dir)
        private_directory(self.log_path.parent)
        self.settle_port()
        argv = self._prepare()
        self._child = Child(argv, guard=guard, log_path=self.log_path, env=self._environment(), cwd=self.dir)
        try:
            self._await_answer(self._child)
        except BaseException:
            self.kill()
            raise

    def settle_port(self) -> None:
        """Choose the port and see that nobody has it; nothing while the server runs.

        Raises: EmbeddedError: it is taken.
        """
        if self.running():
            return
        if self._port is None:
            self._port = self._ports.choose(self.name, self._configured_port)
        self._refuse_taken_port(self._port)

    def pause(self) -> None:
        """SIGSTOP its own process, as a fault: it keeps its connections and says nothing. Until `resume`."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT it; nothing when it is not paused."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.running():
            os.kill(self._child.pid, number)

    def stop(self) -> None:
        """Ask it to end, wait, kill it if it does not; nothing when it does not run. One paused resumes."""
        if self._child is not None:
            self.resume()
            self._child.stop(self.stop_signal, within=self.stop_within)
            self._child = None

    def kill(self) -> None:
        """SIGKILL it with all its children, as a fault; nothing when it does not run."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def restart(self) -> None:
        """Stop and start it on the same port with the same data. Raises as `start`."""
        self.stop()
        self.start()

    def allow(self) -> None:
        """Take back `abort`."""
        self._aborted.clear()

    def abort(self) -> None:
        """Have a `start` in another thread give up soon, with an EmbeddedError."""
        self._aborted.set()

    @abstractmethod
    def _prepare(self) -> list[str]:
        """Fill its directory; returns the command line. Raises EmbeddedError when something is missing."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it does its work now, by asking it. An OSError counts as no."""

    def _environment(self) -> dict[str, str]:
        return dict(os.environ)

    def _listens(self, child: Child) -> bool:
        """Whether the port is in this very process's hands, so that nobody else is asked in its place."""
        return listens(child.pid, self.port)

    def _refuse_taken_port(self, port: int) -> None:
        deadline = time.monotonic() + PASSING_WITHIN
        told = False
        while (found := holder(port)) is not None:
            if found.passing and not told:
                logger.info("%s waits for port %d: it belongs to %s", self.title, port, found.text)
                told = True
            if not found.passing or self._aborted.is_set() or time.monotonic() > deadline:
                raise EmbeddedError(
                    f"port {port} is taken by {found.text}, and the embedded {self.title} is to listen "
                    f"there: end what has it, choose another port (EMBEDDED_{self.name.upper()}_PORT), "
                    f"or set {self.url_variable} to use a running {self.title}"
                )
            self._aborted.wait(LOOK_AGAIN)

    def _await_answer(self, child: Child) -> None:
        deadline = time.monotonic() + self.start_within
        while time.monotonic() < deadline:
            if self._aborted.is_set():
                raise EmbeddedError(f"the start of {self.title} was interrupted")
            if not child.running():
                raise EmbeddedError(self._failure("ended while it started", child))
            try:
                if self._listens(child) and self._answers():
                    logger.info("%s answers", self.title)
                    return
            except OSError:
                pass  # not listening yet
            time.sleep(POLL)
        raise EmbeddedError(self._failure(f"did not answer within {self.start_within:.0f} s", child))

    def _failure(self, what: str, child: Child) -> str:
        tail = child.log_tail() or "    (it wrote nothing)"
        return f"the embedded {self.title} {what}; the end of {self.log_path}:\n{tail}"
