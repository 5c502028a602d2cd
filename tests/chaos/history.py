"""What clients did and were told: the half of the truth that the system has to agree with.

Each write carries a mark (`spec.bench.mark`, or a report's `metadata.mark`), so that its traces can be found
in events, states, answers and rows. A retry is a write of its own with a mark of its own: what the first one
did stays visible. Only a retry under the same `Idempotency-Key` is the same write, and keeps the mark.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Literal, NamedTuple

Kind = Literal["create", "update", "delete", "report", "reconcile"]
Outcome = Literal["applied", "rejected", "unknown", "broken"]

OK = "ok"
NO_ANSWER = 0  # the status of an attempt whose connection failed


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One command as its sender knows it.

    Attributes:
        mark: Identity of the write; attempts under one `Idempotency-Key` share it.
        cluster_id: Of the cluster; for a create over HTTP only known from the answer.
        status: HTTP status, `NO_ANSWER` without one; of a Kafka command what REST would have said.
        generation, resource_version: As the answer gave them.
        command_id: Of a command sent over Kafka; its result is looked up under it.
        expected: The verdicts that would be right: `ok`, or codes of refusals.
        expected_version: The `resource_version` it was made conditional on.
        web: The number of the web process that was asked.
        repeat: Whether it is a retry under the same key; its answer may show what came after it.
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
    expected_version: str | None = None
    web: int | None = None
    repeat: bool = False

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

    @property
    def known_by(self) -> float:
        """When it was known to be applied; infinite if that was never said, or only over Kafka."""
        return self.ended if self.outcome == "applied" and self.command_id is None else inf

    def answered(self, status: int, body: Mapping[str, Any], *, at: float) -> None:
        """Note an answer."""
        self.status, self.ended, self.code = status, at, body.get("code")
        if self.outcome == "applied" and self.kind in ("create", "update"):
            self.cluster_id = body["id"]
            self.generation = body["generation"]
            self.resource_version = body["resource_version"]
        if self.outcome == "applied" and self.kind == "report" and not body.get("applied", True):
            self.status, self.code = 409, "STALE"  # understood, and without effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One GET of a cluster: status 200 with what it showed, or 404."""

    client: str
    web: int
    cluster_id: str
    started: float
    ended: float
    status: int
    generation: int = 0
    resource_version: str = ""
    mark: str | None = None


class Operation(NamedTuple):
    """From the first attempt of an operation to its definite answer, in seconds on the run's clock."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long its client had to try."""
        return self.ended - self.began


@dataclass(slots=True)
class History:
    """All attempts and reads of a run."""

    attempts: list[Attempt] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    missed_reads: list[float] = field(default_factory=list)
    """When reads began that got no answer, or an error."""

    unanswered: list[str] = field(default_factory=list)
    """Operations that never got a definite answer."""

    def of(self, *kinds: Kind) -> Iterable[Attempt]:
        """The attempts of these kinds."""
        return (attempt for attempt in self.attempts if attempt.kind in kinds)

    def writes(self) -> Mapping[str, list[Attempt]]:
        """The attempts of each create and update, by mark, in the order of their start."""
        writes: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in self.of("create", "update"):
            writes[attempt.mark].append(attempt)
        return writes

    def count(self, outcome: Outcome) -> int:
        """How many attempts ended so."""
        return sum(attempt.outcome == outcome for attempt in self.attempts)

    @property
    def longest_stall(self) -> float:
        """Seconds."""
        return max((operation.seconds for operation in self.operations), default=0.0)

    def longest_stall_during(self, began: float, ended: float) -> float:
        """Seconds that the slowest operation took that was under way at some time between the two."""
        under_way = (each for each in self.operations if each.began <= ended and each.ended >= began)
        return max((operation.seconds for operation in under_way), default=0.0)

    @property
    def entries(self) -> tuple[Attempt | Read, ...]:
        """Attempts and reads together."""
        return (*self.attempts, *self.reads)

    def since(self, start: float) -> None:
        """Count all times from this moment."""
        for attempt in self.attempts:
            attempt.started, attempt.ended = attempt.started - start, attempt.ended - start
        self.reads = [_moved(read, start) for read in self.reads]
        self.operations = [Operation(each.began - start, each.ended - start) for each in self.operations]
        self.missed_reads = [at - start for at in self.missed_reads]

    def keep(self, path: Path) -> None:
        """Write one attempt or read a line."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            for entry in self.entries:
                file.write(json.dumps(asdict(entry)) + "\n")


def _moved(read: Read, start: float) -> Read:
    return Read(**{**asdict(read), "started": read.started - start, "ended": read.ended - start})


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
