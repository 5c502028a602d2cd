"""The events of a cluster: facts in the past tense, in the order of its partition.

`Created`, `Updated`, `Deleted` and `Reconciled` are published on `cluster-events`. The others only change the
state, or (`Ignored`) only determine the answer.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from domain.cluster.state import ControllerReport
from domain.health import Health
from domain.values import Struct, field


class Created(Struct, frozen=True, kw_only=True):
    """A cluster was accepted at generation 1."""

    id: str
    name: str
    created_by: str
    target_project_id: str
    spec: Mapping[str, Any]
    secrets: Mapping[str, str] = field(default_factory=dict)
    resource_version: str
    at: datetime


class Updated(Struct, frozen=True, kw_only=True):
    """The whole spec was replaced; `changes` maps dotted paths to `{"from": …, "to": …}`."""

    spec: Mapping[str, Any]
    secrets: Mapping[str, str] = field(default_factory=dict)
    resource_version: str
    changes: Mapping[str, Any]
    at: datetime


class Deleted(Struct, frozen=True, kw_only=True):
    """The cluster is deleted for its users; its state is kept for the delete retention."""

    force: bool
    at: datetime


class Reconciled(Struct, frozen=True, kw_only=True):
    """Controllers should compare desired and observed state.

    Attributes:
        scheduled_by: `reconciliation_scheduler`, `manual_trigger` or `reactive_reconciliation`; only the
            first moves the schedule.
        interval: The time until the next scheduled one; zero for the others.
        change: The change that caused a reactive one, as its kind and its time.
    """

    reason: str
    scheduled_by: str
    interval: timedelta = timedelta(0)
    change: tuple[str, datetime] | None = None
    at: datetime


class Attached(Struct, frozen=True, kw_only=True):
    """The cluster has droplets, which go with it when it is deleted."""

    at: datetime


class HealthSet(Struct, frozen=True, kw_only=True):
    """An operator has said how the cluster is, or has taken that back."""

    health: Health | None
    at: datetime


class Reported(Struct, frozen=True, kw_only=True):
    """A controller's report was accepted."""

    report: ControllerReport
    at: datetime


class Reevaluated(Struct, frozen=True, kw_only=True):
    """Time alone may have changed the status."""

    at: datetime


class Ignored(Struct, frozen=True, kw_only=True):
    """A report changed nothing: it was `stale` or a `duplicate`."""

    result: Literal["stale", "duplicate"]


Event = Created | Updated | Deleted | Reconciled | Attached | HealthSet | Reported | Reevaluated | Ignored
