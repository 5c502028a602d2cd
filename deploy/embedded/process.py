"""Child processes that never outlive their owner, and commands that run to their end.

A server starts as `sh` that waits for one line on stdin. Only when the guard knows its pid does it get that
line and become the server; if its owner dies before, it reads end of file and exits. So even a kill -9
between fork and registration leaves no orphan. Servers lead sessions of their own: Ctrl-C in a terminal
reaches the program, which stops them in order.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from deploy.embedded import guard as guard_script
from deploy.embedded.errors import EmbeddedError
from deploy.embedded.private import UMASK

WAIT_FOR_THE_WORD = 'read -r word && exec "$@" < /dev/null'
LOG_TAIL = 15  # lines shown when a server fails: enough for an exception with its cause
LOG_LIMIT = 10 * 2**20  # bytes; a longer log is set aside at the next start
TELL_EVERY = 5.0  # seconds between two words on a command that takes long

logger = logging.getLogger(__name__)


class Guard:
    """The process that kills the servers of one stack when this process is gone (see `guard.py`)."""

    def __init__(self, lock_fd: int) -> None:
        """Start it. `lock_fd`: the open lock file of the data directory, kept locked until the guard ends."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", guard_script.__file__, str(os.getpid()), str(lock_fd)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # ours may be a pipe, whose reader would wait for the guard
            pass_fds=(lock_fd,),
            start_new_session=True,
        )

    def add(self, pid: int) -> None:
        """Have the server die with us. Raises EmbeddedError when the guard is gone."""
        assert self._process.stdin is not None
        line = f"{pid}\n".encode()  # written whole, whatever thread writes
        try:
            os.write(self._process.stdin.fileno(), line)
        except BrokenPipeError as error:
            reason = f"the guard of the embedded servers (pid {self._process.pid}) was killed; start again"
            raise EmbeddedError(reason) from error

    def close(self) -> None:
        """Let it kill what still runs and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class Child:
    """A running server process, its output appended to a log file."""

    def __init__(
        self, argv: Sequence[str], *, guard: Guard, log_path: Path, env: Mapping[str, str], cwd: Path
    ) -> None:
        """Start it. Raises EmbeddedError when the guard is gone, OSError when the log cannot be written."""
        self.argv = argv
        self.log_path = log_path
        if log_path.exists() and log_path.stat().st_size > LOG_LIMIT:
            log_path.replace(log_path.with_suffix(".log.1"))
        with log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", WAIT_FOR_THE_WORD, "sh", *argv],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
                umask=UMASK,
            )
        assert self._process.stdin is not None
        with self._process.stdin as stdin:
            guard.add(self._process.pid)
            stdin.write(b"start\n")

    @property
    def pid(self) -> int:
        """Process id; stays the same when `sh` becomes the server."""
        return self._process.pid

    def running(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def stop(self, stop_signal: signal.Signals, *, within: float) -> None:
        """Ask it to end with the signal, wait `within` seconds, then kill; nothing when it has ended."""
        if self.running():
            self._process.send_signal(stop_signal)
            try:
                self._process.wait(within)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """SIGKILL it with all its children and wait until they are gone."""
        if self.running():
            guard_script.kill_trees([psutil.Process(self.pid)])
        self._process.wait()

    def log_tail(self) -> str:
        """The last lines it wrote since this start; empty when there are none."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return tail(log.read().decode(errors="replace"))


def run(
    argv: Sequence[str],
    *,
    failure: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str = "",
    timeout: float = 120.0,
    doing: str | None = None,
) -> str:
    """Run a command to its end, quietly; its output is returned, or shown when it fails.

    Args:
        failure: What the user reads in front of the output, e.g. "cannot create the database".
        timeout: In seconds.
        doing: What is logged while it runs, at once and then every few seconds; None: nothing.
    Raises: EmbeddedError: it could not be run, ran too long or answered with another status than 0.
    """
    if doing is not None:
        logger.info("%s", doing)
    try:
        command = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise EmbeddedError(f"{failure}: {argv[0]} does not run: {error.strerror}") from error
    output = _output(command, stdin, timeout, doing)
    if output is None:
        raise EmbeddedError(f"{failure}: {argv[0]} did not end within {timeout:.0f} s")
    if command.returncode != 0:
        raise EmbeddedError(f"{failure}: {argv[0]} ended with status {command.returncode}\n{tail(output)}")
    return output


def _output(command: subprocess.Popen[str], stdin: str, timeout: float, doing: str | None) -> str | None:
    """What it wrote, once it has ended; None when it had to be killed for its time."""
    started = time.monotonic()
    given: str | None = stdin
    with command:
        while True:
            waited = time.monotonic() - started
            try:
                output = command.communicate(given, timeout=max(0.0, min(timeout - waited, TELL_EVERY)))[0]
            except subprocess.TimeoutExpired:
                given = None  # the first call goes on writing it
            except BaseException:
                command.kill()
                raise
            else:
                break
            if waited + TELL_EVERY >= timeout:
                command.kill()
                return None
            if doing is not None:
                logger.info("%s: for %.0f s now", doing, time.monotonic() - started)
    if doing is not None and (took := time.monotonic() - started) > TELL_EVERY:
        logger.info("%s: done after %.0f s", doing, took)
    return output


def tail(output: str) -> str:
    """The last lines of an output, indented; without Java's stack frames, which would push the reason out."""
    lines = [
        line for line in output.splitlines() if line.strip() and not line.startswith(("\tat ", "\t... "))
    ]
    return "\n".join(f"    {line}" for line in lines[-LOG_TAIL:])
