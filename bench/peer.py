"""A peer to compare with, as a process of its own that talks in lines: first `ready`, then what it was asked.

A peer's module ends in `python -m bench.<peer> …`; whatever it measures itself it prints, one line a time.
"""

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.stage import BYTECODE, REPOSITORY

READY_WITHIN: Final = 60.0  # seconds


class PeerFailed(RuntimeError):
    """A peer ended or said nothing in time."""


class Peer:
    """Runs while the block does; `introduced` is what it said behind `ready`."""

    introduced: Sequence[str]

    def __init__(
        self,
        module: str,
        *words: object,
        python: Path | str = sys.executable,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self._command = [str(python), "-m", module, *map(str, words)]
        self._environment = environment
        self._log = log
        self._buffer = b""
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        errors = subprocess.DEVNULL if self._log is None else self._stack.enter_context(self._log.open("ab"))
        self._process = subprocess.Popen(
            self._command,
            cwd=REPOSITORY,
            env={**(self._environment or os.environ), **BYTECODE},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        try:
            self.introduced = self.wait_for("ready", within=READY_WITHIN)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def tell(self, line: str) -> None:
        """A line on its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def wait_for(self, word: str, *, within: float) -> Sequence[str]:
        """The words behind the next line that begins with this one.

        Raises: PeerFailed: it ended, or said no such thing within so many seconds.
        """
        deadline = time.monotonic() + within
        while True:
            words = self._line(deadline).split()
            if words and words[0] == word:
                return words[1:]

    def _line(self, deadline: float) -> str:
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise PeerFailed(f"{' '.join(self._command)} said nothing in time{self._said()}")
            more = self._process.stdout.read1(65536)  # type: ignore[attr-defined]
            if not more:
                raise PeerFailed(f"{' '.join(self._command)} ended with {self._process.wait()}{self._said()}")
            self._buffer += more
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.decode()

    def _said(self) -> str:
        return "" if self._log is None else f":\n{self._log.read_text(errors='replace')[-2000:]}"

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._stack.close()
