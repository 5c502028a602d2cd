"""Percentiles, tables, and what the figures were taken on."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.stage import REPOSITORY

RESULTS = REPOSITORY / ".run" / "bench"


@dataclass(frozen=True, slots=True)
class Spread:
    """Of some latencies, in milliseconds."""

    count: int
    p50: float
    p99: float
    max: float


def spread(seconds: Sequence[float]) -> Spread:
    """The percentiles of latencies in seconds (nearest rank)."""
    ordered = sorted(seconds)
    return Spread(
        count=len(ordered),
        p50=percentile(ordered, 0.50) * 1000,
        p99=percentile(ordered, 0.99) * 1000,
        max=ordered[-1] * 1000,
    )


def percentile(ordered: Sequence[float], rank: float) -> float:
    """The value below which that share of an ordered sequence lies."""
    return ordered[min(len(ordered) - 1, int(rank * len(ordered)))]


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, aligned for the terminal too."""
    cells = [list(header), *[[_cell(value) for value in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def machine() -> dict[str, Any]:
    """What a figure cannot be read without."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "commit": _commit(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def save(name: str, figures: Mapping[str, Any]) -> Path:
    """Keep a run's figures as `.run/bench/<name>.json`."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({**machine(), **figures}, indent=2, default=str) + "\n")
    return path
