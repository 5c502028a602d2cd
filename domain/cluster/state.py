"""What is known about one cluster.

Members are named as in the JSON of the contract (mixed snake_case and camelCase), so that a value and
its JSON are one thing and no mapping stands between them: `ClusterState` is the value of a record on
`cluster-state`, and its member `cluster` is to the letter what GET answers.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from domain.entity import Entity
from domain.health import Health
from domain.values import UNSET, Struct, UnsetType, field

# Brokers' clocks may differ by half a minute; a moment further ahead than this is not believed.
TOLERANCE: Final = timedelta(minutes=1)
# How long before its spec write a report may have come.
_GUESSED_BEFORE: Final = timedelta(minutes=1)
# Per controller; a controller repeats its last report, at most the few before it.
REMEMBERED_REPORTS: Final = 8

ConditionStatus = Literal["True", "False", "Unknown"]
Phase = Literal["Pending", "Progressing", "Ready", "Failed"]


class Condition(Struct, frozen=True, kw_only=True):
    """One observed aspect of a cluster.

    `lastTransitionTime` is None only in a report that gave none; what is stored has one.
    """

    type: str
    status: ConditionStatus
    lastTransitionTime: datetime | None
    reason: str = ""
    message: str = ""


class ReportedCondition(Condition, frozen=True, kw_only=True):
    """A condition in a controller's own words."""

    severity: str | None = None


class Status(Struct, frozen=True, kw_only=True):
    """What the reports of the current generation add up to."""

    observedGeneration: int
    conditions: tuple[Condition, ...]
    phase: Phase
    reason: str
    message: str
    lastUpdateTime: datetime


class Cluster(Struct, frozen=True, kw_only=True):
    """A cluster as its users see it."""

    id: str
    name: str
    target_project_id: str
    created_by: str
    generation: int
    resource_version: str
    spec: Mapping[str, Any]
    status: Status
    created_at: datetime
    updated_at: datetime


class LastError(Struct, frozen=True, kw_only=True):
    """Why a controller could not finish; `retryAfter` in nanoseconds."""

    controllerName: str
    errorType: str = ""
    errorCode: str = ""
    message: str = ""
    userActionable: bool = False
    suggestions: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    retryAfter: int | None = None
    timestamp: datetime


class ControllerReport(Struct, frozen=True, kw_only=True):
    """The last word of one controller about one cluster.

    Attributes:
        last_updated: When it arrived.
        report_ids: Ids of this and the reports before it, oldest first.
    """

    controller_name: str
    observed_generation: int
    conditions: tuple[ReportedCondition, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    last_error: LastError | None = None
    last_updated: datetime
    report_ids: tuple[str, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether its condition `Available` is `True`; other types don't count."""
        return any(c.type == "Available" and c.status == "True" for c in self.conditions)


class Schedule(Struct, frozen=True, kw_only=True):
    """When a cluster is reconciled next."""

    last_reconciled_at: datetime | None
    next_reconcile_at: datetime
    enabled: bool = True
    needs_attention: bool = True


class PendingAnnouncement(Struct, frozen=True, kw_only=True):
    """A change that waits to be announced: why, and when it happened."""

    reason: str
    at: datetime


class Reactive(Struct, frozen=True, kw_only=True):
    """Announcements of changes to one cluster.

    Attributes:
        sent: When the last ones went out, at most a minute's, oldest first.
        last: Per kind of change, when it was announced last.
        waiting: Per kind of change, the latest one that came too soon after another.
    """

    sent: tuple[datetime, ...] = ()
    last: Mapping[str, datetime] = field(default_factory=dict)
    waiting: Mapping[str, PendingAnnouncement] = field(default_factory=dict)


class ClusterState(Entity, frozen=True, kw_only=True):
    """All that one key of the table holds.

    Attributes:
        secrets: Members of the spec that nobody may read in passing, encrypted.
        reports: By controller name.
        reactive: What was announced lately; None until something is.
        first_report_at: When the first report for the current generation arrived.
        attached: Whether it has had droplets; absent until it has.
        health_override: What operators have said of its health; absent unless they have.
        checked_at: When they did last, or took it back.
    """

    cluster: Cluster
    secrets: Mapping[str, str] = field(default_factory=dict)
    reports: Mapping[str, ControllerReport] = field(default_factory=dict)
    schedule: Schedule
    reactive: Reactive | None = None
    first_report_at: datetime | None = None
    attached: bool | UnsetType = UNSET
    health_override: Health | UnsetType = UNSET
    checked_at: datetime | UnsetType = UNSET


def counted(state: ClusterState) -> tuple[ControllerReport, ...]:
    """The reports that say something about the current generation.

    A report that was ahead of its cluster counts only if it came within a minute before the spec
    write it speaks of (a replay after a crash can reorder them by that much); an older one was a guess.
    """
    return counting(state.reports, state.cluster.generation, state.cluster.updated_at)


def counting(
    reports: Mapping[str, ControllerReport], generation: int, written_at: datetime
) -> tuple[ControllerReport, ...]:
    """The same of these reports, for a generation that was written then."""
    return tuple(
        report
        for report in reports.values()
        if report.observed_generation == generation and report.last_updated >= written_at - _GUESSED_BEFORE
    )
