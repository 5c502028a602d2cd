"""What each fault of a run cost its clients: the longest stall, slow writes, open ones, reads that failed."""

from collections.abc import Sequence
from typing import Final

from bench.figures import percentile
from tests.chaos.broker_faults import TWO_AGAIN
from tests.chaos.history import Attempt
from tests.chaos.run import Injected, Outcome

HEADER: Final = (
    "fault", "at s", "lasted s", "longest stall s", "p99 s", "writes", "of them open", "reads", "missed",
)  # fmt: skip


def rows(outcome: Outcome) -> list[Sequence[object]]:
    """A line of the table for each fault, in the order in which they began.

    Two faults at a time are told the same stalls: which of them it was is for the reader to find.
    """
    return [_row(outcome, each) for each in sorted(outcome.injected, key=lambda each: each.began)]


def _row(outcome: Outcome, injected: Injected) -> Sequence[object]:
    history, fault = outcome.history, injected.fault
    began, ended = injected.began, injected.ended
    writes = [
        attempt
        for attempt in history.attempts
        if attempt.command_id is None and began <= attempt.started <= ended
    ]
    return (
        f"{fault.kind} {fault.target}", began, ended - began, history.longest_stall_during(began, ended),
        _p99(writes), len(writes), sum(map(_open, writes)),
        sum(began <= read.started <= ended for read in history.reads),
        sum(began <= at <= ended for at in history.missed_reads),
    )  # fmt: skip


def _p99(writes: Sequence[Attempt]) -> float:
    """Seconds within which nearly all writes were answered that had a definite answer; 0 without any."""
    taken = sorted(each.ended - each.started for each in writes if each.outcome in ("applied", "rejected"))
    return percentile(taken, 0.99) if taken else 0.0


def _open(attempt: Attempt) -> bool:
    return attempt.outcome == "unknown" and attempt.status != 202


def resumed(outcome: Outcome) -> list[float]:
    """Seconds from each return of a second broker until every write that had waited for it was answered."""
    returns = [at for at, what in outcome.moments if what == TWO_AGAIN]
    return [
        max(
            (each.ended - at for each in outcome.history.operations if each.began <= at < each.ended),
            default=0.0,
        )
        for at in returns
    ]
