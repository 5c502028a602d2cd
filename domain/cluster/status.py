"""The status that results from a cluster's reports: scenarios S1 to S8 of the contract.

`aggregate` uses only counted reports, on the current generation: `n` of them, of which `r` are ready and `e`
have an error. Each scenario is one branch that reads like its row in the contract.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import floor
from typing import Final

from domain.cluster.state import Condition, ConditionStatus, ControllerReport, Phase, Status
from domain.policy import Policy
from domain.values import Struct

_MINUTE: Final = timedelta(minutes=1)
_JUST_AFTER: Final = timedelta.resolution


class _Words(Struct, frozen=True):
    """Phase, then reason and message of the cluster, of `Ready` and of `Available`."""

    phase: Phase
    top: tuple[str, str]
    ready: tuple[str, str]
    available: tuple[str, str]

    @property
    def holds(self) -> ConditionStatus:
        """Both conditions are True in S2 and False in all others."""
        return "True" if self.phase == "Ready" else "False"


def aggregate(
    generation: int,
    reports: Sequence[ControllerReport],
    *,
    first_report_at: datetime | None,
    previous: Status | None,
    at: datetime,
    policy: Policy,
) -> Status:
    """The status of a cluster at a moment.

    Args:
        generation: The cluster's generation.
        reports: The counted ones (`domain.cluster.state.counted`).
        first_report_at: When the first of them arrived; None only without reports.
        previous: The last status; a condition with an unchanged value keeps its transition time.
        at: The time of the record that is being handled.
    """
    words = _scenario(reports, first_report_at or at, at, policy)
    return Status(
        observedGeneration=generation,
        conditions=(
            _condition("Ready", words.holds, words.ready, previous, at),
            _condition("Available", words.holds, words.available, previous, at),
        ),
        phase=words.phase,
        reason=words.top[0],
        message=words.top[1],
        lastUpdateTime=at,
    )


def changes_at(
    status: Status, reports: Sequence[ControllerReport], *, first_report_at: datetime | None, policy: Policy
) -> datetime | None:
    """The moment from which time alone changes the words of a status; None if it never does.

    Args:
        reports: The counted reports, from which the status was made.
        first_report_at: As in `aggregate`.
    """
    at = status.lastUpdateTime
    since = first_report_at or at
    words = _scenario(reports, since, at, policy)
    if (words.phase, *words.top) != (status.phase, status.reason, status.message):
        return at  # the status was made under another policy
    if not reports or any(report.ready for report in reports):
        return None
    errors = [report.last_error for report in reports if report.last_error is not None]
    grace_ends = since + policy.grace_period
    if at < grace_ends and all(error.errorType == "Transient" for error in errors):
        minutes_left = (grace_ends - at) // _MINUTE
        return grace_ends - minutes_left * _MINUTE + _JUST_AFTER if minutes_left else grace_ends
    if errors:
        return None
    active_until = max(report.last_updated for report in reports) + policy.activity_window
    if at <= active_until:
        return active_until + _JUST_AFTER
    return since + (floor((at - since) / _MINUTE + 0.5) + 0.5) * _MINUTE


def _scenario(reports: Sequence[ControllerReport], since: datetime, at: datetime, policy: Policy) -> _Words:
    n = len(reports)
    r = sum(report.ready for report in reports)
    errors = [report.last_error for report in reports if report.last_error is not None]
    if n == 0:
        return _NO_CONTROLLERS
    if r == n and not errors:
        return _all_ready(n)
    if r > 0:
        return _partly_ready(n, r, with_errors=bool(errors))
    in_grace = at - since < policy.grace_period
    only_transient = all(error.errorType == "Transient" for error in errors)
    if in_grace and only_transient:
        minutes_left = int((since + policy.grace_period - at).total_seconds() // 60)
        return _provisioning(n, minutes_left)
    if errors:
        return _none_ready(n)
    if any(at - report.last_updated <= policy.activity_window for report in reports):
        return _showing_progress(n)
    return _timed_out(n, minutes=floor((at - since).total_seconds() / 60 + 0.5))


_NO_CONTROLLERS = _Words(  # S1
    "Pending",
    ("NoControllers", "Waiting for controllers to report status"),
    ("NoControllers", "No controllers have reported status yet"),
    ("NoControllers", "No controllers have reported status yet"),
)


def _all_ready(n: int) -> _Words:  # S2
    return _Words(
        "Ready",
        ("AllControllersReady", f"Cluster is ready with {n} controllers operational"),
        ("AllControllersReady", f"All {n} controllers are ready"),
        ("AllControllersReady", f"All {n} controllers are available"),
    )


def _partly_ready(n: int, r: int, *, with_errors: bool) -> _Words:
    ready = ("PartialProgress", f"{r} of {n} controllers are ready")
    if with_errors:  # S4
        return _Words(
            "Progressing",
            (
                "ControllersWithErrors",
                f"Cluster is progressing but some controllers have errors ({r}/{n} ready)",
            ),
            ready,
            ("ControllersWithErrors", f"Some controllers have errors ({r} ready of {n})"),
        )
    return _Words(  # S3
        "Progressing",
        ("PartialProgress", f"Cluster is progressing ({r}/{n} controllers ready)"),
        ready,
        ("PartialProgress", f"Controllers are still working ({r} ready of {n})"),
    )


def _working(n: int, reason: str, message: str) -> _Words:
    return _Words(
        "Progressing",
        (reason, message),
        ("ControllersNotYetReady", f"Controllers are still working ({n} of {n} controllers)"),
        ("ControllersBecomingAvailable", f"Controllers are becoming available ({n} working)"),
    )


def _provisioning(n: int, minutes_left: int) -> _Words:  # S5
    remaining = f"({minutes_left} minutes remaining) " if minutes_left > 0 else ""
    return _working(
        n,
        "ControllersProvisioning",
        f"Controllers are provisioning resources {remaining}({n} controllers working)",
    )


def _showing_progress(n: int) -> _Words:  # S6
    return _working(
        n,
        "ControllersShowingProgress",
        f"Controllers are actively working but not yet ready ({n} controllers showing progress)",
    )


def _timed_out(n: int, *, minutes: int) -> _Words:  # S7
    return _Words(
        "Failed",
        (
            "ControllerTimeout",
            f"Controllers failed to become ready after {minutes} minutes with no progress"
            f" ({n} controllers timed out)",
        ),
        ("ControllersTimedOut", f"Controllers timed out after {minutes} minutes"),
        ("ControllersTimedOut", f"No controllers became available after {minutes} minutes"),
    )


def _none_ready(n: int) -> _Words:  # S8
    return _Words(
        "Failed",
        (
            "NoControllersReady",
            f"Cluster failed - no controllers are operational ({n} controllers exist)",
        ),
        ("NoControllersReady", f"None of {n} controllers are ready"),
        ("NoControllersReady", f"None of {n} controllers are available"),
    )


def _condition(
    kind: str, status: ConditionStatus, words: tuple[str, str], previous: Status | None, at: datetime
) -> Condition:
    before = _condition_of(previous, kind)
    if before is not None and (before.status, before.reason, before.message) == (status, *words):
        return before
    changed_at = before.lastTransitionTime if before and before.status == status else at
    return Condition(
        type=kind, status=status, lastTransitionTime=changed_at, reason=words[0], message=words[1]
    )


def _condition_of(status: Status | None, kind: str) -> Condition | None:
    if status is not None:
        for condition in status.conditions:
            if condition.type == kind:
                return condition
    return None
