"""What the main ratios were when they were last written down, and whether today's have kept up.

Every ratio here is a speed in units of its peer's, so more is better.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PATH: Final = Path(__file__).with_name("baseline.json")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One ratio beside its baseline; None where there is none yet, which is no failure."""

    name: str
    ratio: float
    baseline: float | None
    least: float

    @property
    def part(self) -> float | None:
        """Of the baseline."""
        return None if self.baseline is None else self.ratio / self.baseline

    @property
    def kept(self) -> bool:
        """Whether it has kept up."""
        return self.part is None or self.part >= self.least

    def row(self) -> Sequence[object]:
        """Its line under `HEADER`."""
        if self.baseline is None or self.part is None:
            return self.name, f"{self.ratio:.3f}", "none", "", "new"
        verdict = "yes" if self.kept else "NO"
        return self.name, f"{self.ratio:.3f}", f"{self.baseline:.3f}", f"{self.part:.2f}", verdict


HEADER: Final = ("Speed in units of the peer's", "median", "baseline", "part of it", "kept")


def read(path: Path = PATH) -> dict[str, float]:
    """The ratios written down; none where there is no file."""
    if not path.exists():
        return {}
    ratios: dict[str, float] = json.loads(path.read_text())["ratios"]
    return ratios


def write(ratios: Mapping[str, float], taken_on: Mapping[str, object], path: Path = PATH) -> None:
    """Write ratios down, with what they were taken on."""
    rounded = {name: round(ratio, 4) for name, ratio in ratios.items()}
    path.write_text(json.dumps({"taken_on": taken_on, "ratios": rounded}, indent=2) + "\n")


def medians(pairs: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median ratio of each question's pairs."""
    return {name: statistics.median(ratios) for name, ratios in pairs.items()}


def judged(ratios: Mapping[str, float], baseline: Mapping[str, float], *, least: float) -> list[Verdict]:
    """Each ratio beside its baseline.

    Args:
        least: The part of the baseline that it must reach.

    Raises: ValueError: a question of the baseline was not asked, so its answer would go unseen.
    """
    if unasked := sorted(baseline.keys() - ratios.keys()):
        raise ValueError(f"not asked, though in the baseline: {', '.join(unasked)}")
    return [Verdict(name, ratio, baseline.get(name), least) for name, ratio in ratios.items()]
