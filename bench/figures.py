"""Percentiles, ratios beside what must be reached, tables, and what the figures were taken on."""

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from bench.stage import REPOSITORY

RESULTS = REPOSITORY / ".run" / "bench"


@dataclass(frozen=True, slots=True)
class Spread:
    """Of some latencies, in milliseconds."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float


def spread(seconds: Sequence[float]) -> Spread:
    """The percentiles of latencies in seconds (nearest rank)."""
    ordered = sorted(seconds)
    return Spread(
        count=len(ordered),
        p50=percentile(ordered, 0.50) * 1000,
        p95=percentile(ordered, 0.95) * 1000,
        p99=percentile(ordered, 0.99) * 1000,
        max=ordered[-1] * 1000,
    )


def percentile(ordered: Sequence[float], rank: float) -> float:
    """The value below which that share of an ordered sequence lies."""
    return ordered[min(len(ordered) - 1, int(rank * len(ordered)))]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one question came to.

    Attributes:
        ours, peer: The two figures with their units, for people; the peer's is empty where there is none.
        value: What is judged: their ratio, or ours by itself. In the median of several pairs, mostly.
        least, most: What it must reach, and what it may not exceed; both None where it is only shown.
    """

    question: str
    ours: str
    peer: str
    value: float
    least: float | None = None
    most: float | None = None
    unit: str = "×"

    @property
    def kept(self) -> bool:
        """Whether it reaches what it must."""
        enough = self.least is None or self.value >= self.least
        return enough and (self.most is None or self.value <= self.most)

    @property
    def reach(self) -> str:
        """What it must reach, for people."""
        bounds = [f"≥ {self.least:g} {self.unit}"] if self.least is not None else []
        bounds += [f"≤ {self.most:g} {self.unit}"] if self.most is not None else []
        return ", ".join(bounds)

    def row(self) -> Sequence[object]:
        """Its line under `ANSWERS`."""
        judged = self.least is not None or self.most is not None
        verdict = ("yes" if self.kept else "NO") if judged else ""
        return self.question, self.ours, self.peer, f"{_short(self.value)} {self.unit}", self.reach, verdict


def _short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


ANSWERS: Final = ("Question", "measured", "against", "ratio or figure", "reach", "kept")


def tell(name: str, answers: Sequence[Answer], *, seed: int | None = None, **more: Any) -> None:
    """Print the answers as a table and keep them, with whatever else was measured, as JSON."""
    print(table(ANSWERS, [answer.row() for answer in answers]))
    print(save(name, {"seed": seed, "answers": [asdict(answer) for answer in answers], **more}), flush=True)


def median_ratio(ours: Sequence[float], peers: Sequence[float]) -> float:
    """The median of the ratios of interleaved pairs: what else the machine did hit both sides of most."""
    return statistics.median(one / other for one, other in zip(ours, peers, strict=True))


def rates(
    question: str,
    ours: Sequence[float],
    peers: Sequence[float],
    *,
    peer: str = "",
    cpu_micros: float | None = None,
    least: float | None = None,
) -> Answer:
    """How rates a second compare that were measured in interleaved pairs.

    Args:
        peer: What the other one is called.
        cpu_micros: Processor time for each of ours, where it is to be shown.
    """
    each = "" if cpu_micros is None else f", {cpu_micros:.0f} µs of processor each"
    text = f"{statistics.median(ours):,.0f}/s{each}"
    other = f"{peer} {statistics.median(peers):,.0f}/s".lstrip()
    return Answer(question, text, other, median_ratio(ours, peers), least=least)


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
