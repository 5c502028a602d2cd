"""What the tests of the rules start from: a moment, clusters and reports in as few words as possible."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from domain.cluster.believed import Now
from domain.cluster.commands import Command, Create, Delete, Reconcile, Report, Update
from domain.cluster.decide import decide, decide_report, evolve, moved_on
from domain.cluster.events import Event, Reconciled
from domain.cluster.schedule import due, reconciles_at
from domain.cluster.state import ClusterState, ControllerReport, LastError, ReportedCondition
from domain.errors import Rejected
from domain.policy import Policy

T0 = datetime(2030, 1, 1, 12, tzinfo=UTC)
POLICY = Policy()
OWNER, STRANGER, CONTROLLER = "owner@example.com", "stranger@example.com", "dns@system.local"
GCP = {"platform": {"type": "gcp"}}


def after(*, hours: float = 0, minutes: float = 0, seconds: float = 0) -> datetime:
    return T0 + timedelta(hours=hours, minutes=minutes, seconds=seconds)


def uuid(number: int) -> str:
    return str(UUID(int=number, version=4))


CLUSTER_ID = uuid(1)


class Refused(NamedTuple):
    """A refusal as a value."""

    code: str
    error: str
    details: Mapping[str, Any] = MappingProxyType({})


def decided(
    state: ClusterState | None, command: Command, *, at: datetime, policy: Policy = POLICY
) -> Event | Refused:
    """The event of a command, or its refusal."""
    try:
        return decide(state, command, at=at, policy=policy)
    except Rejected as refusal:
        return Refused(refusal.code, refusal.text, refusal.details)


def create(number: int = 1, *, by: str = OWNER, **members: object) -> Create:
    return Create(
        **{"command_id": uuid(number), "cluster_id": CLUSTER_ID, "user_email": by, "name": "one"}  # type: ignore[arg-type]
        | {"spec": GCP}
        | members
    )


def update(
    number: int = 2, *, by: str = OWNER, spec: dict[str, object] | None = None, **members: object
) -> Update:
    return Update(
        command_id=uuid(number),
        cluster_id=CLUSTER_ID,
        user_email=by,
        spec=GCP if spec is None else spec,
        **members,
    )


def delete(number: int = 3, *, by: str = OWNER, force: bool = False, **members: object) -> Delete:
    return Delete(command_id=uuid(number), cluster_id=CLUSTER_ID, user_email=by, force=force, **members)


def reconcile(number: int = 4, *, by: str = OWNER) -> Reconcile:
    return Reconcile(command_id=uuid(number), cluster_id=CLUSTER_ID, user_email=by)


def available(status: str = "True", at: datetime | None = None) -> ReportedCondition:
    return ReportedCondition(type="Available", status=status, lastTransitionTime=at)


def error(kind: str = "Fatal") -> LastError:
    return LastError(controllerName="c", errorType=kind, errorCode="X", message="x", timestamp=T0)


def says(
    controller: str = "dns",
    generation: int = 1,
    *conditions: ReportedCondition,
    ready: bool | None = None,
    failing: str | None = None,
    report_id: str | None = None,
) -> Report:
    """A controller's report: `ready` gives it the condition Available, `failing` an error of that type."""
    if ready is not None:
        conditions = (available("True" if ready else "False"),)
    return Report(
        cluster_id=CLUSTER_ID,
        controller_name=controller,
        observed_generation=generation,
        conditions=conditions,
        last_error=None if failing is None else error(failing),
        report_id=report_id,
    )


def stored(
    controller: str, *, ready: bool, at: datetime, failing: str | None = None, generation: int = 1
) -> ControllerReport:
    return ControllerReport(
        controller_name=controller,
        observed_generation=generation,
        conditions=(available("True" if ready else "False", at),),
        last_error=None if failing is None else error(failing),
        last_updated=at,
    )


def step(
    record: ClusterState | None, what: Command | Report | None, at: datetime, policy: Policy = POLICY
) -> tuple[ClusterState | None, Sequence[Event | Refused]]:
    """The record after a command, a report or (None) a tick at a moment, and the events on the way."""
    match what:
        case None:
            assert record is not None
            return ticked(record, at, policy)
        case Report():
            assert record is not None
            event: Event = decide_report(record, what, at=at)
        case _:
            found = decided(record, what, at=at, policy=policy)
            if isinstance(found, Refused):
                return record, (found,)
            event = found
    if record is not None or type(event).__name__ == "Created":
        record = evolve(record, event, policy)
    return record, (event,)


def ticked(
    record: ClusterState, at: datetime, policy: Policy = POLICY, *, told: datetime | None = None
) -> tuple[ClusterState | None, tuple[Reconciled, ...]]:
    """The record after a tick that takes all that is due, None when it is purged, and what is announced.

    `told`: what the ticker's own clock says, if it differs.
    """
    after, announced = moved_on(record, Now(at, told or at), policy)
    moment = None if after is None else reconciles_at(after, policy)
    if after is None or moment is None or moment > at:
        return after, announced
    event = due(after, at, policy)
    assert event is not None, "the clock would look at it in vain"
    return evolve(after, event, policy), (*announced, event)


def story(*steps: tuple[Command | Report | None, datetime], policy: Policy = POLICY) -> ClusterState:
    """The record that these steps lead to; None is a tick."""
    record: ClusterState | None = None
    for what, at in steps:
        record, _ = step(record, what, at, policy)
    assert record is not None
    return record
