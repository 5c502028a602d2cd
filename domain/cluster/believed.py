"""Which stored moments are believed: none that is further ahead than any interval can explain (section 12).

A broker whose clock is ahead for a while stamps records with a future time. A state that was stored then
would be frozen until that time: its cluster would not be reconciled, a report on a newer spec would count as
older than the spec, and its status would not be updated. A tick corrects such a state: every moment that is
not believed becomes the tick's own. `created_at` never changes, and the rules that read it allow for that.

Conversely, a broker whose clock is behind makes every stored moment look as if it were in the future. So a
tick carries a second opinion, the ticker's own clock, and only a moment ahead of both clocks is not believed.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from domain.cluster.state import (
    TOLERANCE,
    ClusterState,
    ControllerReport,
    PendingAnnouncement,
    Reactive,
    Schedule,
    Status,
)
from domain.entity import KEPT_FOR, Outcome
from domain.policy import Policy
from domain.values import replace

FIRST_RECONCILE_WITHIN: Final = timedelta(minutes=1)
"""The time after which the first schedule of a cluster is due (`domain.cluster.schedule.first_schedule`)."""

_Past = Callable[[datetime], datetime]


class Now(NamedTuple):
    """The moment of a tick by two clocks.

    Attributes:
        at: The broker's clock, stamped on the tick's record; the rules use it.
        published_at: The ticker's own clock, a second opinion for changes that cannot be undone.
    """

    at: datetime
    published_at: datetime

    @property
    def earliest(self) -> datetime:
        """The moment that both clocks have reached."""
        return min(self)

    @property
    def latest(self) -> datetime:
        """The moment that neither clock has passed."""
        return max(self)


def furthest(state: ClusterState, policy: Policy) -> datetime:
    """The moment that the clock must have reached when the state was last written.

    It is the latest of the state's moments, where planned moments are reduced by the longest interval.
    """
    return max(_moments(state, policy))


def ahead(state: ClusterState, now: Now, policy: Policy) -> bool:
    """Whether the state has a moment that is not believed."""
    return furthest(state, policy) > now.latest + TOLERANCE


def believed(state: ClusterState, now: Now, policy: Policy) -> ClusterState:
    """The state with `now.at` in place of moments that are not believed; the same object if all are.

    A reconcile whose moment is not believed is due at once. An outcome is kept as long as a new one.
    """
    if not ahead(state, now, policy):
        return state
    limit = now.latest + TOLERANCE

    def past(moment: datetime) -> datetime:
        return now.at if moment > limit else moment

    cluster, reactive = state.cluster, state.reactive
    return replace(
        state,
        cluster=replace(cluster, updated_at=past(cluster.updated_at), status=_status(cluster.status, past)),
        reports={name: _report(report, past) for name, report in state.reports.items()},
        schedule=_schedule(state.schedule, past, limit + _longest_interval(policy), now.at),
        reactive=None if reactive is None else _reactive(reactive, past),
        first_report_at=_optional(state.first_report_at, past),
        deleted_at=_optional(state.deleted_at, past),
        recent=tuple(_outcome(known, limit + KEPT_FOR, now.at) for known in state.recent),
    )


def _moments(state: ClusterState, policy: Policy) -> Iterator[datetime]:
    cluster, schedule, reactive = state.cluster, state.schedule, state.reactive
    yield cluster.updated_at
    yield cluster.status.lastUpdateTime
    for condition in cluster.status.conditions:
        if condition.lastTransitionTime is not None:
            yield condition.lastTransitionTime
    for report in state.reports.values():
        yield report.last_updated
    for moment in (schedule.last_reconciled_at, state.first_report_at, state.deleted_at):
        if moment is not None:
            yield moment
    yield schedule.next_reconcile_at - _longest_interval(policy)
    if reactive is not None:
        yield from reactive.sent
        yield from reactive.last.values()
        for change in reactive.waiting.values():
            yield change.at
    for known in state.recent:
        if not isinstance(known, str) and known.until is not None:
            yield known.until - KEPT_FOR


def _longest_interval(policy: Policy) -> timedelta:
    return max(
        policy.attention_interval, policy.stable_interval, policy.default_interval, FIRST_RECONCILE_WITHIN
    )


def _optional(moment: datetime | None, past: _Past) -> datetime | None:
    return None if moment is None else past(moment)


def _status(status: Status, past: _Past) -> Status:
    conditions = tuple(
        replace(condition, lastTransitionTime=_optional(condition.lastTransitionTime, past))
        for condition in status.conditions
    )
    return replace(status, lastUpdateTime=past(status.lastUpdateTime), conditions=conditions)


def _report(report: ControllerReport, past: _Past) -> ControllerReport:
    """The corrected report; of the controller's own times, only those that we may have filled in change."""
    arrived = past(report.last_updated)
    if arrived == report.last_updated:
        return report
    conditions = tuple(
        replace(condition, lastTransitionTime=_optional(condition.lastTransitionTime, past))
        for condition in report.conditions
    )
    error = report.last_error
    if error is not None:
        error = replace(error, timestamp=past(error.timestamp))
    return replace(report, last_updated=arrived, conditions=conditions, last_error=error)


def _schedule(schedule: Schedule, past: _Past, limit: datetime, at: datetime) -> Schedule:
    return replace(
        schedule,
        last_reconciled_at=_optional(schedule.last_reconciled_at, past),
        next_reconcile_at=at if schedule.next_reconcile_at > limit else schedule.next_reconcile_at,
    )


def _reactive(reactive: Reactive, past: _Past) -> Reactive:
    return Reactive(
        sent=tuple(sorted(past(moment) for moment in reactive.sent)),
        last={kind: past(moment) for kind, moment in reactive.last.items()},
        waiting={
            kind: PendingAnnouncement(reason=change.reason, at=past(change.at))
            for kind, change in reactive.waiting.items()
        },
    )


def _outcome(known: str | Outcome, limit: datetime, at: datetime) -> str | Outcome:
    if not isinstance(known, str) and known.until is not None and known.until > limit:
        return replace(known, until=at + KEPT_FOR)
    return known
