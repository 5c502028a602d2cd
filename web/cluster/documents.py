"""What REST answers of clusters, as the types it is encoded from, beside `domain.cluster.state.Cluster`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from msgspec import UNSET, Raw, Struct, UnsetType

from domain.cluster.state import Cluster, ConditionStatus, Status
from streams.messages import Holds


class ClusterList(Struct, kw_only=True):
    """One page of clusters, newest first.

    Attributes:
        total: All that match, on whatever page.
        limit, offset: As they were applied; page by these, and not by what was asked for.
        next_offset: Where the next page begins. Only there when this one holds fewer clusters than were asked
            for because they are long; `limit` is then their number.
    """

    clusters: list[Cluster]
    total: int
    limit: int
    offset: int
    next_offset: int | UnsetType = UNSET


class DeleteAccepted(Struct, kw_only=True):
    """A cluster is gone for its users."""

    message: str = "cluster deletion initiated"
    cluster_id: str


class ShownCondition(Struct, kw_only=True, omit_defaults=True):
    """A condition as its controller reported it."""

    type: str
    status: ConditionStatus
    lastTransitionTime: datetime
    reason: str
    message: str
    severity: str | None = None


class ShownError(Struct, kw_only=True, omit_defaults=True):
    """An error as its controller reported it.

    Attributes:
        retryAfter: Nanoseconds.
    """

    controllerName: str
    errorType: str
    errorCode: str
    message: str
    userActionable: bool
    suggestions: list[str]
    details: Mapping[str, Any]
    retryAfter: int | None = None
    timestamp: datetime


class ControllerStatus(Struct, kw_only=True):
    """The last report of one controller.

    Attributes:
        observed_generation: The generation it speaks of; below the cluster's it does not count any more.
        last_error: Absent when the report has no error.
        last_updated, updated_at: When it arrived; the two are the same.
    """

    cluster_id: str
    controller_name: str
    observed_generation: int
    conditions: list[ShownCondition]
    metadata: Mapping[str, Any]
    last_error: ShownError | UnsetType = UNSET
    last_updated: datetime
    updated_at: datetime


class StatusView(Struct, kw_only=True):
    """The status of a cluster, and the reports it comes from.

    Attributes:
        controllers, controller_status: Reports of every generation by name; the two are the same.
    """

    cluster_id: str
    generation: int
    status: Annotated[Raw, Holds(Status)]
    controllers: list[ControllerStatus]
    controller_status: list[ControllerStatus]


class ReportTaken(Struct, kw_only=True):
    """What became of a report.

    Attributes:
        applied: Whether it was stored; false for one older than what is stored. Absent while it is not
            known yet.
    """

    message: str
    cluster_id: str
    controller_name: str
    observed_generation: int
    applied: bool | UnsetType = UNSET
