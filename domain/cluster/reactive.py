"""Announcing changes to controllers at once, beside the schedule (contract, section 6, "Reactive").

A change is announced when it happens (leading edge). Changes that follow within the debounce time wait, the
latest replacing the others, and are announced when that time is over (trailing edge) with the cluster's state
by then. The same applies to changes beyond a cluster's limit per minute. Times, messages and metadata do not
count as changes, or each report of a controller would cause its next one.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from domain.cluster.events import Event, Reconciled, Reported
from domain.cluster.state import ClusterState, ControllerReport, PendingAnnouncement, Reactive
from domain.policy import Policy
from domain.values import replace

SCHEDULED_BY: Final = "reactive_reconciliation"
_MINUTE: Final = timedelta(minutes=1)
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)

SPEC: Final = "spec"
STATUS: Final = "status"
CONTROLLER_STATUS: Final = "controller_status"


def changes_of(before: ClusterState | None, after: ClusterState, event: Event) -> Iterator[tuple[str, str]]:
    """The changes of an event, as kind and reason; deletes are not included, as they have their own event."""
    if after.deleted_at is not None:
        return
    if before is None:
        yield SPEC, "cluster_created"
        return
    if before.cluster.generation != after.cluster.generation:
        yield SPEC, "generation_increment"
    if _shown(before) != _shown(after):
        yield STATUS, "status_change"
    if isinstance(event, Reported):
        reason = _report_change(before.reports.get(event.report.controller_name), event.report)
        if reason is not None:
            yield CONTROLLER_STATUS, reason


def announce(
    before: ClusterState | None, after: ClusterState, event: Event, *, at: datetime, policy: Policy
) -> tuple[ClusterState, tuple[Reconciled, ...]]:
    """The state that remembers the changes of an event, and the changes to announce now."""
    if not _may_announce(after, policy):
        return after, ()
    changed = {
        kind: PendingAnnouncement(reason=reason, at=at)
        for kind, reason in changes_of(before, after, event)
        if kind in policy.reactive_change_types
    }
    if not changed:
        return after, ()
    reactive = after.reactive or Reactive()
    return _announced(after, reactive, {**reactive.waiting, **changed}, at, policy)


def announce_waiting(
    state: ClusterState, *, at: datetime, policy: Policy
) -> tuple[ClusterState, tuple[Reconciled, ...]]:
    """The same for waiting changes, once time has passed."""
    reactive = state.reactive
    if reactive is None or not reactive.waiting:
        return state, ()
    if not _may_announce(state, policy):
        return replace(state, reactive=replace(reactive, waiting={})), ()
    return _announced(state, reactive, reactive.waiting, at, policy)


def announces_at(state: ClusterState, policy: Policy) -> datetime | None:
    """When the first waiting change may be announced; None if none waits or announcing is off."""
    reactive = state.reactive
    if reactive is None or not reactive.waiting or not _may_announce(state, policy):
        return None
    first = min(_free_at(reactive, kind, policy) for kind in reactive.waiting)
    full = len(reactive.sent) >= policy.reactive_limit
    return max(first, reactive.sent[-policy.reactive_limit] + _MINUTE) if full else first


def _may_announce(state: ClusterState, policy: Policy) -> bool:
    return policy.reactive and state.schedule.enabled and state.deleted_at is None


def _announced(
    state: ClusterState,
    reactive: Reactive,
    waiting: Mapping[str, PendingAnnouncement],
    at: datetime,
    policy: Policy,
) -> tuple[ClusterState, tuple[Reconciled, ...]]:
    sent = tuple(time for time in reactive.sent if at - time < _MINUTE)
    last, events = dict(reactive.last), []
    still = dict(waiting)
    for kind, change in sorted(waiting.items(), key=lambda item: item[1].at):
        if len(sent) >= policy.reactive_limit or _free_at(reactive, kind, policy) > at:
            continue
        sent, last[kind] = (*sent, at), at
        del still[kind]
        events.append(
            Reconciled(reason=change.reason, scheduled_by=SCHEDULED_BY, change=(kind, change.at), at=at)
        )
    remembered = Reactive(sent=sent, last=last, waiting=still)
    return replace(state, reactive=remembered), tuple(events)


def _free_at(reactive: Reactive, kind: str, policy: Policy) -> datetime:
    last = reactive.last.get(kind)
    return _LONG_AGO if last is None else last + policy.reactive_debounce


def _shown(state: ClusterState) -> tuple[str, ...]:
    status = state.cluster.status
    return (status.phase, *(condition.status for condition in status.conditions))


def _report_change(before: ControllerReport | None, after: ControllerReport) -> str | None:
    if before is None:
        return "controller_status_created"
    generation = before.observed_generation != after.observed_generation
    status = _said(before) != _said(after)
    if generation and status:
        return "controller_status_and_generation_change"
    if generation:
        return "controller_generation_change"
    return "controller_status_change" if status else None


def _said(report: ControllerReport) -> tuple[str | None, str | None]:
    """The value of `Available`, and the code of the error, empty for one without a code."""
    available = next((c.status for c in report.conditions if c.type == "Available"), None)
    return available, None if report.last_error is None else report.last_error.errorCode
