"""When a cluster is reconciled, and when a tick has anything to do for it (contract, section 6).

A cluster needs attention while it is young or has failed. `moves_at` and `reconciles_at` are the moments from
which a tick has something to do for a state, so that a tick costs what is due and not what exists.
"""

from datetime import datetime

from domain.cluster.believed import FIRST_RECONCILE_WITHIN
from domain.cluster.events import Reconciled
from domain.cluster.state import Cluster, ClusterState, Schedule, counted
from domain.cluster.status import changes_at
from domain.policy import Policy
from domain.values import replace


def needs_attention(cluster: Cluster, at: datetime, policy: Policy) -> bool:
    """Whether a cluster is younger than the attention age, or failed; one from the future counts as young."""
    return at - cluster.created_at < policy.attention_age or cluster.status.phase in ("Failed", "Error")


def first_schedule(at: datetime) -> Schedule:
    """The schedule of a new cluster: it was never reconciled, so it is due at the next tick."""
    return Schedule(last_reconciled_at=None, next_reconcile_at=at + FIRST_RECONCILE_WITHIN)


def with_attention(state: ClusterState, at: datetime, policy: Policy) -> ClusterState:
    """The state with its attention updated; the start of attention moves the next reconcile forward."""
    now_needed = needs_attention(state.cluster, at, policy)
    schedule = state.schedule
    if now_needed == schedule.needs_attention:
        return state
    next_at = schedule.next_reconcile_at
    if now_needed and policy.adaptive:
        next_at = min(next_at, at + policy.attention_interval)
    return replace(state, schedule=replace(schedule, needs_attention=now_needed, next_reconcile_at=next_at))


def due(state: ClusterState, at: datetime, policy: Policy) -> Reconciled | None:
    """The scheduled reconcile that is due for a state, with the first reason that applies; else None."""
    schedule = state.schedule
    if not policy.reconcile_enabled or not schedule.enabled or state.deleted_at:
        return None
    attention = needs_attention(state.cluster, at, policy)
    if not policy.adaptive:
        interval, elapsed = policy.default_interval, "periodic_reconciliation"
    elif attention:
        interval, elapsed = policy.attention_interval, "unhealthy_reconciliation"
    else:
        interval, elapsed = policy.stable_interval, "healthy_reconciliation"
    if schedule.last_reconciled_at is None:
        reason = "never_reconciled"
    elif schedule.next_reconcile_at <= at:
        reason = elapsed
    elif _unanswered(state) and schedule.last_reconciled_at + policy.attention_interval <= at:
        reason = "generation_mismatch"
    else:
        return None
    return Reconciled(reason=reason, scheduled_by="reconciliation_scheduler", interval=interval, at=at)


def reconciled(schedule: Schedule, event: Reconciled) -> Schedule:
    """The schedule after a scheduled reconcile."""
    return replace(schedule, last_reconciled_at=event.at, next_reconcile_at=event.at + event.interval)


def moves_at(state: ClusterState, policy: Policy) -> datetime | None:
    """The moment from which time alone changes the state: by a purge, or by a status that contains a wait."""
    if state.deleted_at:
        return state.deleted_at + policy.delete_retention
    status, since = state.cluster.status, state.first_report_at
    return changes_at(status, counted(state), first_report_at=since, policy=policy)


def reconciles_at(state: ClusterState, policy: Policy) -> datetime | None:
    """The moment from which `due` returns a reconcile, as long as the state does not change."""
    schedule = state.schedule
    if not policy.reconcile_enabled or not schedule.enabled or state.deleted_at:
        return None
    if schedule.last_reconciled_at is None:
        return min(state.cluster.created_at, schedule.next_reconcile_at)  # the former never changes
    if _unanswered(state):
        return min(schedule.next_reconcile_at, schedule.last_reconciled_at + policy.attention_interval)
    return schedule.next_reconcile_at


def _unanswered(state: ClusterState) -> bool:
    """Whether no controller has reported on exactly the current generation."""
    generation = state.cluster.generation
    return all(report.observed_generation != generation for report in state.reports.values())
