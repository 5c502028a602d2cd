"""One cluster as the contract describes it, written from its sections 2.4, 3, 4 and 6 and not from the code.

It keeps what a reader of the contract would keep on paper; `test_machine` drives it beside the deciders.
Nothing of `domain` is used here.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import floor

from tests.domain.scenarios import Row, s1, s2, s3, s4, s5, s6, s7, s8

ATTENTION, STABLE = timedelta(seconds=30), timedelta(minutes=5)
GRACE, SILENCE, YOUNG = timedelta(minutes=30), timedelta(minutes=5), timedelta(hours=2)


@dataclass(frozen=True)
class Word:
    """What one controller said last, and when it was heard."""

    generation: int
    ready: bool
    error: str | None
    at: datetime


@dataclass
class Schedule:
    """When the cluster was announced last, and when it is next."""

    last: datetime | None
    next: datetime


@dataclass
class Model:
    """The cluster on paper.

    Attributes:
        versions: Every `resource_version` it has had; the last is the current one.
        written_at: When the current generation came to be.
        first_at: When the first report counted for it.
        heard: Per controller, the ids of the reports that were taken.
        row, turned_at: What the status says, and since when the conditions have their value.
        accepted: Commands that were applied.
    """

    owner: str
    born: datetime
    written_at: datetime
    moved_at: datetime
    turned_at: datetime
    schedule: Schedule
    versions: list[str]
    generation: int = 1
    words: dict[str, Word] = field(default_factory=dict)
    heard: dict[str, set[str]] = field(default_factory=dict)
    first_at: datetime | None = None
    deleted_at: datetime | None = None
    row: Row = field(default_factory=s1)
    accepted: int = 1

    # --- commands: the code of a refusal, None when it is applied -------------------------------------

    def sees(self, email: str) -> bool:
        """Owners and the privileged domain, while it lives."""
        return self.deleted_at is None and (email == self.owner or email.endswith("@system.local"))

    def update(
        self, email: str, at: datetime, *, valid: bool, generation: int | None, version: str | None
    ) -> str | None:
        if not self.sees(email):
            return "RESOURCE_NOT_FOUND"
        if not valid:
            return "INVALID_SPEC"
        if not self.is_as_expected(generation, version):
            return "GENERATION_CONFLICT"
        self.generation += 1
        self.accepted += 1
        self.written_at = self.moved_at = at
        self.first_at = None
        self.restate(at)
        return None

    def is_as_expected(self, generation: int | None, version: str | None) -> bool:
        return generation in (None, self.generation) and version in (None, self.versions[-1])

    def delete(
        self, email: str, at: datetime, *, force: bool, generation: int | None, version: str | None
    ) -> str | None:
        if not self.sees(email):
            return "RESOURCE_NOT_FOUND"
        if not self.is_as_expected(generation, version):
            return "GENERATION_CONFLICT"
        never_reported = self.row.phase == "Pending" and not self.words
        if not (force or self.row.phase == "Failed" or never_reported):
            return "CLUSTER_NOT_DELETABLE"
        self.deleted_at = self.moved_at = at
        self.accepted += 1
        return None

    def reconcile(self, email: str) -> str | None:
        if not self.sees(email):
            return "RESOURCE_NOT_FOUND"
        self.accepted += 1
        return None

    # --- reports --------------------------------------------------------------------------------------

    def report(self, controller: str, word: Word, report_id: str | None) -> str:
        """`applied`, `stale` or `duplicate`."""
        heard = self.heard.setdefault(controller, set())
        if report_id in heard:
            return "duplicate"
        stored = self.words.get(controller)
        if stored is not None and word.generation < stored.generation:
            from_the_future = stored.generation > self.generation
            if not (from_the_future and word.generation <= self.generation):
                return "stale"
        self.words[controller] = word
        heard |= {report_id} - {None}
        self.restate(word.at)
        return "applied"

    # --- status ---------------------------------------------------------------------------------------

    def counted(self) -> list[Word]:
        """Words on the current generation, but no guess that was made over a minute before it."""
        early = self.written_at - timedelta(seconds=60)
        return [w for w in self.words.values() if w.generation == self.generation and w.at >= early]

    def waits(self) -> bool:
        counted = self.counted()
        return self.deleted_at is None and bool(counted) and not any(word.ready for word in counted)

    def restate(self, at: datetime) -> None:
        """What the table says now; the schedule comes forward when the cluster turns to attention."""
        was_stable = not self.needs_attention(at)
        before, self.row = self.row, self._row(at)
        if before.ready[0] != self.row.ready[0]:
            self.turned_at = at
        if was_stable and self.needs_attention(at):
            self.schedule.next = min(self.schedule.next, at + ATTENTION)

    def _row(self, at: datetime) -> Row:
        words = self.counted()
        n, r = len(words), sum(word.ready for word in words)
        errors = [word.error for word in words if word.error is not None]
        if n == 0:
            return s1()
        if self.first_at is None:  # a guess that counts starts the grace when its generation starts
            self.first_at = at
        if r:
            return s4(r, n) if errors else s2(n) if r == n else s3(r, n)
        passed = at - self.first_at
        if passed < GRACE and all(error == "Transient" for error in errors):
            return s5(n, (GRACE - passed) // timedelta(minutes=1))
        if errors:
            return s8(n)
        if at - max(word.at for word in words) <= SILENCE:
            return s6(n)
        return s7(n, floor(passed / timedelta(minutes=1) + 0.5))

    # --- schedule -------------------------------------------------------------------------------------

    def needs_attention(self, at: datetime) -> bool:
        return at - self.born < YOUNG or self.row.phase == "Failed"

    def tick(self, at: datetime) -> tuple[str, timedelta] | None:
        """Reason and interval of the reconcile that is announced at this tick."""
        if self.deleted_at is not None:
            return None
        if self.waits():
            self.restate(at)
        attention = self.needs_attention(at)
        last, interval = self.schedule.last, ATTENTION if attention else STABLE
        answered = any(word.generation == self.generation for word in self.words.values())
        if last is None:
            reason = "never_reconciled"
        elif self.schedule.next <= at:
            reason = "unhealthy_reconciliation" if attention else "healthy_reconciliation"
        elif not answered and last + ATTENTION <= at:
            reason = "generation_mismatch"
        else:
            return None
        self.schedule = Schedule(at, at + interval)
        return reason, interval

    def announced_by(self) -> datetime:
        """When a tick has to announce it at the latest."""
        return self.born if self.schedule.last is None else self.schedule.next


def new(owner: str, version: str, at: datetime) -> Model:
    """The cluster that a create makes."""
    schedule = Schedule(None, at + timedelta(minutes=1))
    return Model(
        owner=owner,
        born=at,
        written_at=at,
        moved_at=at,
        schedule=schedule,
        versions=[version],
        turned_at=at,
    )
