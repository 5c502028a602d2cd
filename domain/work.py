"""Work that somebody else does: queued, claimed under a lease, tried again, and ended exactly once.

A kind whose entities are work (tasks and jobs) has a `Work` in its state, and these rules in
its `decide` and `wake`. An executor, which does the work, keeps no state. It claims a piece by a command, and
names the id of that command in every later command about the piece. A late command, from an executor that was
taken for dead, names a claim that is gone and changes nothing.

    queued -- claim --> claimed -- complete --> completed
      ^                    |
      +---- waiting <------+-- fail, lapse --> failed (permanently, or at the last attempt)
    queued, waiting, claimed -- cancel --> cancelled
    queued, waiting, claimed -- conclude --> completed, failed

A claim lapses at the end of its lease, which a heartbeat prolongs (`Renew`) until the time limit of the
attempt. So a piece whose executor has died, or hangs, comes back by itself.
"""

from datetime import datetime, timedelta
from hashlib import sha1
from typing import Annotated, Final, Literal

from domain.entity import Command, CommandId
from domain.errors import Rejected
from domain.json import check_json
from domain.values import Meta, Struct, replace

MAX_RESULT: Final = 65_536
MAX_ERROR: Final = 4_096
MAX_MESSAGE: Final = 1_000

Phase = Literal["queued", "waiting", "claimed", "completed", "failed", "cancelled"]

ENDED: Final = frozenset({"completed", "failed", "cancelled"})
"""The phases that nothing leaves."""

LAPSED: Final = "The executor has not been heard of in time"
OVERTIME: Final = "The time limit has passed"
CANCELLED: Final = "Cancelled"


class Limits(Struct, frozen=True, kw_only=True):
    """How long and how often work of a kind is tried.

    Attributes:
        attempts: Of one piece at most, 1 or more.
        lease: How long a claim holds without a heartbeat.
        time: How long one attempt may take.
        first_pause: Before the second attempt.
        factor: By which each later pause is longer than the one before it.
        longest_pause: Its maximum.
        jitter: The share by which a pause may be shorter, so that pieces that failed together do not come
            back together; 0 to 1.
    """

    attempts: int = 5
    lease: timedelta = timedelta(seconds=20)
    time: timedelta = timedelta(seconds=30)
    first_pause: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    longest_pause: timedelta = timedelta(seconds=60)
    jitter: float = 0.5


class Work(Struct, frozen=True, kw_only=True):
    """How far a piece of work has come.

    Attributes:
        attempt: The current one, or the one that is queued or waits; from 1.
        queued_at: When the current attempt was queued; while it waits, when it will be.
        claim: The id of the command that has claimed it; None unless it is claimed.
        lease_until: When the claim lapses.
        ends_by: When the attempt has taken too long; no heartbeat prolongs a lease beyond it.
        cancelled: Whether somebody has asked for its end while it is claimed; its executor learns that at its
            next heartbeat.
        ended_at: When it ended.
    """

    phase: Phase = "queued"
    attempt: int = 1
    queued_at: datetime
    claim: str | None = None
    lease_until: datetime | None = None
    ends_by: datetime | None = None
    cancelled: bool = False
    ended_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether it has ended, and will not change any more."""
        return self.phase in ENDED


# --- what is said about a piece -----------------------------------------------------------------------


class Claim(Command, frozen=True, kw_only=True):
    """Take a piece that is queued; the id of this command is the claim.

    Attributes:
        executor: Who asks, for people who look for a piece.
    """

    executor: Annotated[str, Meta(max_length=255)] = ""


class Held(Command, frozen=True, kw_only=True):
    """Something about a piece by the holder of its claim."""

    claim: CommandId


class Renew(Held, frozen=True, kw_only=True):
    """Prolong the lease: the piece is being worked on."""


class Progress(Renew, frozen=True, kw_only=True):
    """Say how far the work on a piece has come, which prolongs the lease as well.

    Attributes:
        percent: What counts beyond 0 to 100 counts as the nearer end.
        message: What is being done.
    """

    percent: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
    message: Annotated[str, Meta(max_length=MAX_MESSAGE)] = ""


class Complete(Held, frozen=True, kw_only=True):
    """End a piece that is done."""

    result: Annotated[str, Meta(max_length=MAX_RESULT)] = ""


class Fail(Held, frozen=True, kw_only=True):
    """Give an attempt up.

    Attributes:
        permanent: Whether another attempt would fail as well.
    """

    error: Annotated[str, Meta(max_length=MAX_ERROR)]
    permanent: bool = False


class Conclude(Command, frozen=True, kw_only=True):
    """End a piece whose end is committed elsewhere already, whoever holds its claim.

    Attributes:
        result: Of a piece that is done.
        error: Why it has failed; None if it is done.
    """

    result: Annotated[str, Meta(max_length=MAX_RESULT)] = ""
    error: Annotated[str, Meta(max_length=MAX_ERROR)] | None = None


class Cancel(Command, frozen=True, kw_only=True):
    """End a piece before it is done: at once if it is queued, by its executor if it is claimed."""


# --- what follows ---------------------------------------------------------------------------------------


How = Phase | Literal["renewed", "cancelling"]


class Moved(Struct, frozen=True):
    """A piece has moved on.

    Attributes:
        how: `renewed` if its lease was prolonged, `cancelling` if its executor shall end it, else its phase.
        work: What it is now.
        result: Of a piece that is done.
        error: Why an attempt came to nothing.
    """

    how: How
    work: Work
    at: datetime
    result: str = ""
    error: str = ""


def begun(at: datetime) -> Moved:
    """A new piece, which can be claimed at once."""
    return Moved("queued", Work(queued_at=at), at)


def decide(work: Work, command: Command, at: datetime, *, key: str, limits: Limits) -> Moved:
    """What a command leads to.

    Args:
        key: Of the piece; its pauses vary by it.

    Raises:
        Rejected: `WORK_NOT_QUEUED` for a claim of what is claimed, waits, or has ended; `CLAIM_LOST` for a
            claim that does not hold the piece any more; `WORK_CANCELLED` for a heartbeat of what shall end;
            `WORK_ENDED` for a cancellation or a conclusion that comes too late.
    """
    for name in ("result", "error"):
        check_json(getattr(command, name, None), field=name)
    match command:
        case Claim(command_id=claim):
            return _claimed(work, claim, at, limits)
        case Renew():
            return _renewed(_held(work, command), at, limits)
        case Complete(result=result):
            return _ended(_held(work, command), "completed", at, result=result)
        case Fail(error=error, permanent=permanent):
            return _failed(_held(work, command), error, at, key=key, limits=limits, permanent=permanent)
        case Cancel():
            return _cancelled(_open(work), at)
        case Conclude(error=None, result=result):
            return _ended(_open(work), "completed", at, result=result)
        case Conclude(error=str(error)):
            return _ended(_open(work), "failed", at, error=error)
    raise TypeError(f"no command of work: {type(command).__name__}")


def wake_at(work: Work) -> datetime | None:
    """When a piece moves by itself; None if it waits for a command, or for nothing any more."""
    match work.phase:
        case "claimed":
            return work.lease_until
        case "waiting":
            return work.queued_at
    return None


def due_at(work: Work, *, retention: timedelta) -> datetime | None:
    """When a piece moves by itself, or has ended long enough ago to be forgotten."""
    return wake_at(work) if work.ended_at is None else work.ended_at + retention


def wake(work: Work, at: datetime, *, key: str, limits: Limits) -> Moved:
    """What has become of a piece by itself: its pause is over, or its claim has lapsed."""
    if work.phase == "waiting":
        return Moved("queued", replace(work, phase="queued"), at)
    error = OVERTIME if work.ends_by is not None and at >= work.ends_by else LAPSED
    return _failed(work, error, at, key=key, limits=limits)


def pause(key: str, attempt: int, limits: Limits) -> timedelta:
    """The time between an attempt that came to nothing and the next one.

    It is the same for the same piece and attempt, because a replay must decide the same.
    """
    try:
        longest = min(limits.longest_pause, limits.first_pause * limits.factor ** (attempt - 1))
    except OverflowError:
        longest = limits.longest_pause
    drawn = int.from_bytes(sha1(f"{key} {attempt}".encode(), usedforsecurity=False).digest()[:4])
    return longest * (1 - limits.jitter * drawn / 2**32)


def _held(work: Work, command: Held) -> Work:
    if work.phase != "claimed" or work.claim != command.claim:
        raise Rejected("CLAIM_LOST", "This claim does not hold the work any more")
    return work


def _claimed(work: Work, claim: str, at: datetime, limits: Limits) -> Moved:
    if work.phase != "queued":
        raise Rejected("WORK_NOT_QUEUED", "There is nothing to claim now", phase=work.phase)
    ends_by = at + limits.time
    held = replace(
        work, phase="claimed", claim=claim, lease_until=min(at + limits.lease, ends_by), ends_by=ends_by
    )
    return Moved("claimed", held, at)


def _renewed(work: Work, at: datetime, limits: Limits) -> Moved:
    if work.cancelled:
        raise Rejected("WORK_CANCELLED", "The work shall end")
    assert work.ends_by is not None
    return Moved("renewed", replace(work, lease_until=min(at + limits.lease, work.ends_by)), at)


def _failed(
    work: Work, error: str, at: datetime, *, key: str, limits: Limits, permanent: bool = False
) -> Moved:
    """The end of an attempt that came to nothing."""
    if work.cancelled:
        return _ended(work, "cancelled", at, error=CANCELLED)
    if permanent or work.attempt >= limits.attempts:
        return _ended(work, "failed", at, error=error)
    again = at + pause(key, work.attempt, limits)
    return Moved("waiting", Work(phase="waiting", attempt=work.attempt + 1, queued_at=again), at, error=error)


def _open(work: Work) -> Work:
    if work.ended:
        raise Rejected("WORK_ENDED", "The work has ended", phase=work.phase)
    return work


def _cancelled(work: Work, at: datetime) -> Moved:
    if work.phase == "claimed":
        return Moved("cancelling", replace(work, cancelled=True), at)
    return _ended(work, "cancelled", at, error=CANCELLED)


def _ended(
    work: Work,
    phase: Literal["completed", "failed", "cancelled"],
    at: datetime,
    *,
    result: str = "",
    error: str = "",
) -> Moved:
    ended = Work(phase=phase, attempt=work.attempt, queued_at=work.queued_at, ended_at=at)
    return Moved(phase, ended, at, result, error)
