"""The rules of one cluster: `decide` turns a request into an event, `evolve` applies an event to the state.

Both are pure: time is the record's (`at`), ids are the command's.
"""

from collections.abc import Mapping
from datetime import datetime

from domain.access import may_see
from domain.cluster.believed import Now, believed
from domain.cluster.commands import (
    Attach,
    Command,
    Create,
    Delete,
    Guarded,
    Reconcile,
    Report,
    SetHealth,
    Update,
)
from domain.cluster.events import (
    Attached,
    Created,
    Deleted,
    Event,
    HealthSet,
    Ignored,
    Reconciled,
    Reevaluated,
    Reported,
    Updated,
)
from domain.cluster.reactive import announce, announce_waiting
from domain.cluster.schedule import first_schedule, moves_at, reconciled, with_attention
from domain.cluster.secrets import kept_secrets, require_known_keys, secret_changes, without_secrets
from domain.cluster.spec import accept_spec, changes, check_name, check_project_id
from domain.cluster.state import (
    REMEMBERED_REPORTS,
    Cluster,
    ClusterState,
    ControllerReport,
    ReportedCondition,
    counting,
)
from domain.cluster.status import aggregate
from domain.errors import Rejected, not_found
from domain.ids import deterministic_id
from domain.policy import Policy
from domain.values import UNSET, replace


def decide(state: ClusterState | None, command: Command, *, at: datetime, policy: Policy) -> Event:
    """The one event a command leads to. Raises: Rejected."""
    match command:
        case Create():
            return _create(state, command, at, policy)
        case Update():
            return _update(visible(state, command.user_email, policy), command, at, policy)
        case Delete():
            return _delete(visible(state, command.user_email, policy), command, at)
        case Reconcile():
            visible(state, command.user_email, policy)
            return Reconciled(reason="manual_trigger", scheduled_by="manual_trigger", at=at)
        case SetHealth(health=health):
            visible(state, command.user_email, policy)
            return HealthSet(health=health, at=at)
        case Attach():
            if state is None or state.deleted_at:
                raise not_found()
            return Attached(at=at)
        case _:
            raise TypeError(f"no rule for {type(command).__name__}")


def visible(state: ClusterState | None, email: str, policy: Policy) -> ClusterState:
    """The state, provided that it is live and this identity may see it.

    Raises: Rejected: `RESOURCE_NOT_FOUND`, whatever the reason.
    """
    if state is None or state.deleted_at or not may_see(email, state.cluster.created_by, policy):
        raise not_found()
    return state


def _create(state: ClusterState | None, command: Create, at: datetime, policy: Policy) -> Created:
    check_name(command.name)
    check_project_id(command.target_project_id)
    spec, said = without_secrets(accept_spec(command.spec, policy))
    require_known_keys(said, policy.secret_key_ids)
    if state is not None:
        raise Rejected("RESOURCE_CONFLICT", "A cluster with this id already exists", field="cluster_id")
    return Created(
        id=command.cluster_id,
        name=command.name,
        created_by=command.user_email,
        target_project_id=command.target_project_id,
        spec=spec,
        secrets=kept_secrets({}, said),
        resource_version=_resource_version(command, command.user_email),
        at=at,
    )


def _update(state: ClusterState, command: Update, at: datetime, policy: Policy) -> Updated:
    cluster = state.cluster
    spec, said = without_secrets(accept_spec(command.spec, policy, before=cluster.spec))
    require_known_keys(said, policy.secret_key_ids)
    secrets = kept_secrets(state.secrets, said)
    _require_expected(state, command)
    return Updated(
        spec=spec,
        secrets=secrets,
        resource_version=_resource_version(command, cluster.created_by),
        changes={**changes(cluster.spec, spec), **secret_changes(state.secrets, secrets)},
        at=at,
    )


def _require_expected(state: ClusterState, command: Guarded) -> None:
    cluster = state.cluster
    expected = (command.expected_generation, command.expected_resource_version)
    if expected[0] not in (None, cluster.generation) or expected[1] not in (None, cluster.resource_version):
        raise Rejected(
            "GENERATION_CONFLICT",
            "Cluster has changed since it was read",
            generation=cluster.generation,
            resource_version=cluster.resource_version,
        )


def _delete(state: ClusterState, command: Delete, at: datetime) -> Deleted:
    _require_expected(state, command)
    phase = state.cluster.status.phase
    if not command.force and phase != "Failed" and (phase != "Pending" or state.reports):
        raise Rejected(
            "CLUSTER_NOT_DELETABLE",
            f"Cannot delete cluster in {phase} state. Use force=true to override.",
        )
    return Deleted(force=command.force, at=at)


def _resource_version(command: Command, owner: str) -> str:
    return deterministic_id(command.cluster_id, *command.identity(owner), "resource_version")


def repeats(state: ClusterState, report: Report) -> bool:
    """Whether the state remembers the report; a deleted cluster counts every report as a repeat."""
    stored = state.reports.get(report.controller_name)
    return stored is not None and report.report_id in stored.report_ids


def decide_report(state: ClusterState, report: Report, *, at: datetime) -> Reported | Ignored:
    """Decide whether a report replaces the last one of its controller.

    A report on an older generation than the stored one is stale. The exception is a stored report on a future
    generation: it was a guess, and any report at or below the cluster's generation replaces it.

    A report on the current generation follows its spec write, even if the clock was set back since.
    """
    if repeats(state, report):
        return Ignored(result="duplicate")
    stored = state.reports.get(report.controller_name)
    known = stored.report_ids if stored else ()
    if stored is not None:
        generation = state.cluster.generation
        guessed = stored.observed_generation > generation >= report.observed_generation
        if report.observed_generation < stored.observed_generation and not guessed:
            return Ignored(result="stale")
    before = {c.type: c for c in stored.conditions} if stored else {}
    current = report.observed_generation == state.cluster.generation
    return Reported(
        report=ControllerReport(
            controller_name=report.controller_name,
            observed_generation=report.observed_generation,
            conditions=tuple(_timed(c, before.get(c.type), at) for c in report.conditions),
            metadata=report.metadata,
            last_error=report.last_error,
            last_updated=max(at, state.cluster.updated_at) if current else at,
            report_ids=(*known, *([report.report_id] if report.report_id else ()))[-REMEMBERED_REPORTS:],
        ),
        at=at,
    )


def _timed(condition: ReportedCondition, before: ReportedCondition | None, at: datetime) -> ReportedCondition:
    if condition.lastTransitionTime is not None:
        return condition
    unchanged = before is not None and before.status == condition.status
    return replace(condition, lastTransitionTime=before.lastTransitionTime if before and unchanged else at)


def moved_on(
    state: ClusterState, now: Now, policy: Policy
) -> tuple[ClusterState | None, tuple[Reconciled, ...]]:
    """The state after the changes of time alone, None once its retention is over, and the announcements.

    Time changes a status that contains how long it has waited, and lets waiting changes be announced. Moments
    that are not believed are corrected first. A purge cannot be undone, so both clocks must agree to it.
    """
    at = now.at
    state = believed(state, now, policy)
    moment = moves_at(state, policy)
    after = state
    announced: tuple[Reconciled, ...] = ()
    if moment is not None and moment <= at:
        if state.deleted_at:
            return (None, ()) if moment <= now.earliest else (state, ())
        event = Reevaluated(at=at)
        after, announced = announce(state, evolve(state, event, policy), event, at=at, policy=policy)
    after, waited = announce_waiting(after, at=at, policy=policy)
    return after, (*announced, *waited)


def evolve(state: ClusterState | None, event: Event, policy: Policy) -> ClusterState:
    """The state after an event; `Ignored` leaves it as it is."""
    match event:
        case Created():
            return _born(event, policy)
        case _ if state is None:
            raise ValueError(f"{type(event).__name__} needs a state")
        case Updated():
            return _updated(state, event, policy)
        case Deleted():
            cluster = replace(state.cluster, updated_at=event.at)
            return replace(state, deleted_at=event.at, cluster=cluster, secrets={}, reactive=None)
        case Attached():
            return replace(state, attached=True)
        case HealthSet(health=health, at=at):
            return replace(state, health_override=UNSET if health is None else health, checked_at=at)
        case Reported():
            reports = {**state.reports, event.report.controller_name: event.report}
            return _restated(state, reports, event.at, policy)
        case Reevaluated():
            return _restated(state, state.reports, event.at, policy)
        case Reconciled(scheduled_by="reconciliation_scheduler"):
            state = with_attention(state, event.at, policy)
            return replace(state, schedule=reconciled(state.schedule, event))
        case _:
            return state


def _born(event: Created, policy: Policy) -> ClusterState:
    status = aggregate(1, (), first_report_at=None, previous=None, at=event.at, policy=policy)
    return ClusterState(
        revision=0,
        cluster=Cluster(
            id=event.id,
            name=event.name,
            target_project_id=event.target_project_id,
            created_by=event.created_by,
            generation=1,
            resource_version=event.resource_version,
            spec=event.spec,
            status=status,
            created_at=event.at,
            updated_at=event.at,
        ),
        secrets=event.secrets,
        schedule=first_schedule(event.at),
    )


def _updated(state: ClusterState, event: Updated, policy: Policy) -> ClusterState:
    generation = state.cluster.generation + 1
    reports = counting(state.reports, generation, event.at)
    since = event.at if reports else None
    cluster = replace(
        state.cluster,
        spec=event.spec,
        generation=generation,
        resource_version=event.resource_version,
        updated_at=event.at,
        status=aggregate(
            generation,
            reports,
            first_report_at=since,
            previous=state.cluster.status,
            at=event.at,
            policy=policy,
        ),
    )
    state = replace(state, cluster=cluster, secrets=event.secrets, first_report_at=since)
    return with_attention(state, event.at, policy)


def _restated(
    state: ClusterState, reports: Mapping[str, ControllerReport], at: datetime, policy: Policy
) -> ClusterState:
    """The state with these reports and their status, so that no status is older than its inputs."""
    cluster = state.cluster
    those = counting(reports, cluster.generation, cluster.updated_at)
    since = state.first_report_at or (at if those else None)
    status = aggregate(
        cluster.generation, those, first_report_at=since, previous=cluster.status, at=at, policy=policy
    )
    state = replace(state, reports=reports, cluster=replace(cluster, status=status), first_report_at=since)
    return with_attention(state, at, policy)
