"""What the demo knows so far: fed by the API and by Kafka, read by the screen and by "is it done?".

No I/O here. The screen reads from a thread of its own, therefore every reader copies a collection (one step
for the interpreter) before it walks over it.
"""

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Final

PHASES: Final = ("Pending", "Progressing", "Ready", "Failed")
CHANGES_KEPT: Final = 30


@dataclass(frozen=True, slots=True)
class SeenCluster:
    """A cluster as the API lists it."""

    id: str
    name: str
    platform: str
    generation: int
    phase: str
    message: str


@dataclass(frozen=True, slots=True)
class SeenReport:
    """A controller's report, as it stands on `cluster-status-reports`."""

    cluster_id: str
    controller: str
    generation: int
    available: bool
    message: str
    failed: bool

    @property
    def kind(self) -> str:
        """Which column of the screen counts it."""
        if self.available:
            return "ready"
        return "failed" if self.failed else "waiting"


@dataclass(frozen=True, slots=True)
class Stumble:
    """A cluster for which a controller fails on purpose, and how that goes."""

    controller: str
    name: str
    failures: int
    recovered: bool


@dataclass(slots=True)
class Step:
    """One line of the demo's story."""

    text: str
    began: float
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A cluster that moved on, or something the demo did to it."""

    at: float
    subject: str
    text: str
    mood: str = "dim"


@dataclass(slots=True)
class Progress:
    """Everything the demo has seen. Times in seconds since its start."""

    wanted: int
    expected: Mapping[str, frozenset[str]]  # platform → the controllers that have to be ready
    unlucky: Mapping[str, str] = field(default_factory=dict)  # controller → names it fails for on purpose
    started: float = field(default_factory=time.monotonic)
    steps: list[Step] = field(default_factory=list)
    clusters: dict[str, SeenCluster] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)  # what the last accepted write answered
    writes: Counter[str] = field(default_factory=Counter)  # accepted ones, by the event each has to lead to
    reports: dict[tuple[str, str], SeenReport] = field(default_factory=dict)
    reported: Counter[tuple[str, str]] = field(default_factory=Counter)  # (controller, kind)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)  # (cluster id, controller)
    events: dict[str, str] = field(default_factory=dict)  # id → type
    repeated_events: int = 0
    changes: deque[Change] = field(default_factory=lambda: deque(maxlen=CHANGES_KEPT))

    @property
    def elapsed(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self.started

    def begin(self, text: str) -> Step:
        """A new step of the story, under way."""
        step = Step(text, began=self.elapsed)
        self.steps.append(step)
        return step

    def end(self, step: Step, text: str | None = None) -> None:
        """The step is over, with what came of it."""
        step.text = text or step.text
        step.ended = self.elapsed

    def note(self, subject: str, text: str, mood: str = "dim") -> None:
        """Something worth a line among the recent changes."""
        self.changes.append(Change(self.elapsed, subject, text, mood))

    def see_cluster(self, seen: SeenCluster) -> None:
        """A cluster as listed now; a phase that is new is a change."""
        before = self.clusters.get(seen.id)
        self.clusters[seen.id] = seen
        if before and before.phase != seen.phase:
            mood = "green" if seen.phase == "Ready" else "red" if seen.phase == "Failed" else "yellow"
            self.note(seen.name, f"{before.phase} → {seen.phase}: {seen.message}", mood)

    def see_write(self, seen: SeenCluster, event_type: str) -> None:
        """An accepted write, as it was answered: from now on it must not be lost, nor done twice."""
        self.see_cluster(seen)
        self.generations[seen.id] = seen.generation
        self.writes[event_type] += 1

    def see_report(self, seen: SeenReport) -> None:
        """A report on its topic."""
        self.reports[seen.cluster_id, seen.controller] = seen
        self.reported[seen.controller, seen.kind] += 1
        if seen.failed:
            self.failures[seen.cluster_id, seen.controller] += 1
            cluster = self.clusters.get(seen.cluster_id)
            self.note(
                cluster.name if cluster else seen.cluster_id, f"{seen.controller}: {seen.message}", "red"
            )

    def see_event(self, event_id: str, event_type: str) -> None:
        """An event on its topic; the same id twice is the same event."""
        if event_id in self.events:
            self.repeated_events += 1
        self.events[event_id] = event_type

    def stumbles(self) -> list[Stumble]:
        """What has failed on purpose so far, by name."""
        found = []
        for (cluster_id, controller), failures in list(self.failures.items()):
            cluster = self.clusters.get(cluster_id)
            if cluster is None or not fnmatch(cluster.name, self.unlucky.get(controller, "")):
                continue
            recovered = self.reports[cluster_id, controller].available
            found.append(Stumble(controller, cluster.name, failures, recovered))
        return sorted(found, key=lambda stumble: stumble.name)

    def phases(self, platform: str | None = None) -> Counter[str]:
        """Clusters by phase, of one platform or of all."""
        return Counter(
            seen.phase for seen in list(self.clusters.values()) if platform in (None, seen.platform)
        )

    def ready(self) -> int:
        """How many clusters are Ready."""
        return self.phases()["Ready"]

    def settled(self) -> bool:
        """Whether all is as it should be: every cluster Ready, at the generation last written, for all."""
        return len(self.clusters) == self.wanted and not any(map(self._open, self.clusters.values()))

    def stuck(self) -> list[str]:
        """The clusters that aren't settled, each with its reason, for people."""
        lines = [
            f"{seen.name}: {seen.phase} at generation {seen.generation}: {seen.message}"
            + "".join(f"\n      {text}" for text in self._open(seen))
            for seen in self.clusters.values()
            if self._open(seen)
        ]
        missing = self.wanted - len(self.clusters)
        if self.clusters and missing:
            lines.append(f"{missing} clusters are not listed by the API")
        return lines

    def _open(self, seen: SeenCluster) -> list[str]:
        """What is missing for a cluster to be settled."""
        wanted = self.generations.get(seen.id, 1)
        faults = [] if seen.phase == "Ready" else [f"phase is {seen.phase}"]
        if seen.generation < wanted:
            faults.append(f"the API shows generation {seen.generation}, generation {wanted} was acknowledged")
        for controller in sorted(self.expected[seen.platform]):
            report = self.reports.get((seen.id, controller))
            if report is None:
                faults.append(f"{controller} has reported nothing")
            elif not report.available or report.generation < wanted:
                faults.append(f"{controller} reported at generation {report.generation}: {report.message}")
        return faults
