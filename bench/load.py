"""Load from a process that takes almost nothing from what it measures: `load.c`, compiled when needed.

The processor time of a generator comes out of the same cores as the server's; in C a request takes 3 µs, in
Python 20 to 60. `Load` says what to do; `start` runs beside the caller, `run` waits for it.
"""

import array
import hashlib
import os
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.figures import RESULTS, Spread, spread
from bench.usage import usage

SOURCE: Final = Path(__file__).with_name("load.c")

NUMBER: Final = "#" * 10
"""In a request: the number of its sending, in ten digits."""

MOMENT: Final = "@" * 16
"""In a request: the microseconds since 1970 at which it was due."""

SETTLE: Final = 0.3  # seconds at the start of each load that do not count


class LoadFailed(RuntimeError):
    """The load could not be made, or a request was refused; the text says which."""


class Unanswered(LoadFailed):
    """No request was answered in the time that counts: the server, or the whole machine, stood still."""


@dataclass(frozen=True, slots=True)
class Load:
    """What to send.

    Attributes:
        requests: Sent in turn, over and over, with `NUMBER` and `MOMENT` filled in.
        rate: Requests a second that become due, whatever the server does; None: each connection sends when
            it has its answer.
        first: The first number.
    """

    port: int
    requests: Sequence[bytes]
    seconds: float
    connections: int = 64
    rate: float | None = None
    first: int = 0
    settle: float = SETTLE


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of it.

    Attributes:
        latencies: In seconds; with a rate they count from when a request was due.
        cpu_micros: Of processor time for each request, in the processes that `run` was told to look at.
    """

    per_second: float
    latencies: Sequence[float]
    cpu_micros: float = 0.0

    @property
    def spread(self) -> Spread:
        """Of the latencies."""
        return spread(self.latencies)


class Running:
    """A load under way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._directory = tempfile.TemporaryDirectory(prefix="bench-load-")
        requests, self._samples = (
            Path(self._directory.name, "requests"),
            Path(self._directory.name, "samples"),
        )
        requests.write_bytes(b"".join(struct.pack("<I", len(one)) + one for one in load.requests))
        words = (load.port, requests, load.connections, load.settle, load.seconds, load.rate or 0, load.first)
        self._process = subprocess.Popen(
            [generator(), *map(str, words), self._samples], stderr=subprocess.PIPE, text=True
        )

    def result(self) -> Loaded:
        """Wait for its end.

        Raises: LoadFailed: the first answer that was no success, or what went wrong. Unanswered: no answer.
        """
        with self._directory:
            _, said = self._process.communicate(timeout=self._load.seconds + 120)
            if self._process.returncode != 0:
                raise LoadFailed(said)
            micros = array.array("I", self._samples.read_bytes())
        if not micros:
            raise Unanswered("not one request was answered in time")
        return Loaded(len(micros) / self._load.seconds, [value / 1e6 for value in micros])


def start(load: Load) -> Running:
    """Begin a load."""
    return Running(load)


def run(load: Load, *pids: int) -> Loaded:
    """Do it, and count the processor time that these processes take meanwhile. Raises: LoadFailed."""
    before = _cpu_seconds(pids)
    loaded = start(load).result()
    # What began before counting did costs as much: scale the count up by the whole time.
    count = len(loaded.latencies) * (1 + load.settle / load.seconds)
    return replace(loaded, cpu_micros=(_cpu_seconds(pids) - before) / count * 1e6)


def _cpu_seconds(pids: Sequence[int]) -> float:
    return sum(usage(pid).cpu_seconds for pid in pids)


def generator() -> Path:
    """The compiled generator. Raises: LoadFailed: there is no C compiler, or it refuses."""
    source = SOURCE.read_bytes()
    path = RESULTS / f"load-{hashlib.sha256(source).hexdigest()[:12]}"
    if path.exists():
        return path
    RESULTS.mkdir(parents=True, exist_ok=True)
    made = path.with_suffix(f".{os.getpid()}")
    try:
        done = subprocess.run(["cc", "-O2", "-o", made, SOURCE], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LoadFailed("the load generator needs a C compiler as cc: `make faults` brings one") from None
    if done.returncode != 0:
        raise LoadFailed(done.stderr)
    made.rename(path)
    return path
