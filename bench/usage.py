"""What a process has used so far, as the kernel counts it (proc(5); Linux alone)."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICK: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time in seconds, user and system; private memory in bytes, now."""

    cpu_seconds: float
    memory: int


def usage(pid: int) -> Usage:
    """Of a process, all its threads together. Raises: FileNotFoundError: it has ended."""
    process = Path("/proc", str(pid))
    fields = (process / "stat").read_text().rpartition(") ")[2].split()  # a name may hold spaces
    return Usage((int(fields[11]) + int(fields[12])) / _TICK, _private(process))


def _private(process: Path) -> int:
    """Bytes of memory that are this process's alone: shared libraries are no cost per cluster."""
    kilobytes = 0
    for line in (process / "smaps_rollup").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("Private_Clean", "Private_Dirty"):
            kilobytes += int(value.split()[0])
    return kilobytes * 1024
