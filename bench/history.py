"""What clients did and were told: the half of the truth that the system has to agree with.

Each attempt at a write is a command of its own and carries a mark into what it writes (`spec.bench.mark`, or
a report's `metadata.mark`), so that its traces can be found in events, states, answers and rows. A retry is
a new attempt with a new mark: what the first one did stays visible.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["create", "update", "delete", "report", "reconcile"]
Outcome = Literal["applied", "rejected", "unknown", "broken"]

OK = "ok"
NO_ANSWER = 0  # the status of an attempt whose connection failed


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One command as its sender knows it.

    Attributes:
        mark: Identity of the attempt.
        cluster_id: Of the cluster; for a create over HTTP only known from the answer.
        status: HTTP status, `NO_ANSWER` without one; of a Kafka command what REST would have said.
        generation, resource_version: As the answer gave them.
        command_id: Of a command sent over Kafka; its result is looked up under it.
        expected: The verdicts that would be right: `ok`, or codes of refusals.
        started, ended: Seconds on the run's clock.
    """

    mark: str
    kind: Kind
    client: str
    started: float
    cluster_id: str | None = None
    ended: float = 0.0
    status: int = NO_ANSWER
    code: str | None = None
    generation: int | None = None
    resource_version: str | None = None
    command_id: str | None = None
    expected: tuple[str, ...] = (OK,)

    @property
    def verdict(self) -> str:
        """`ok`, or the code of the refusal."""
        return OK if self.outcome == "applied" else self.code or str(self.status)

    @property
    def outcome(self) -> Outcome:
        """What the sender may rely on."""
        if self.status in (NO_ANSWER, 503, 504) or (self.kind == "report" and self.status == 202):
            return "unknown"
        if 200 <= self.status < 300:
            return "applied"
        return "rejected" if self.status < 500 else "broken"

    def answered(self, status: int, body: Mapping[str, Any], *, at: float) -> None:
        """Note an answer."""
        self.status, self.ended, self.code = status, at, body.get("code")
        if self.outcome == "applied" and self.kind in ("create", "update"):
            self.cluster_id = body["id"]
            self.generation = body["generation"]
            self.resource_version = body["resource_version"]
        if self.outcome == "applied" and self.kind == "report" and not body.get("applied", True):
            self.status, self.code = 409, "STALE"  # understood, and without effect


@dataclass(slots=True)
class History:
    """All attempts of a run."""

    attempts: list[Attempt] = field(default_factory=list)
    stalls: list[float] = field(default_factory=list)
    """Seconds from the first attempt of each operation to its definite answer."""

    unanswered: list[str] = field(default_factory=list)
    """Operations that never got a definite answer."""

    def of(self, *kinds: Kind) -> Iterable[Attempt]:
        """The attempts of these kinds."""
        return (attempt for attempt in self.attempts if attempt.kind in kinds)

    def count(self, outcome: Outcome) -> int:
        """How many attempts ended so."""
        return sum(attempt.outcome == outcome for attempt in self.attempts)

    @property
    def longest_stall(self) -> float:
        """Seconds."""
        return max(self.stalls, default=0.0)

    def keep(self, path: Path) -> None:
        """Write one attempt a line."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            for attempt in self.attempts:
                file.write(json.dumps(asdict(attempt)) + "\n")


def marked_spec(mark: str) -> dict[str, Any]:
    """A valid spec that carries a mark."""
    return {
        "platform": {"type": "gcp", "gcp": {"projectID": "bench", "region": "us-central1"}},
        "bench": {"mark": mark},
    }


def mark_of(spec: Mapping[str, Any]) -> str | None:
    """The mark a spec carries."""
    bench = spec.get("bench")
    return bench.get("mark") if isinstance(bench, Mapping) else None
