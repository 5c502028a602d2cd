"""What REST answers, as the types it is encoded from; a cluster itself is `domain.cluster.state.Cluster`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Raw, Struct, UnsetType

from domain.cluster.state import Cluster, ConditionStatus, Status
from streams.messages import Holds

Component = Literal["healthy", "degraded", "unhealthy"]


class ErrorBody(Struct, kw_only=True):
    """The one shape of every error.

    Attributes:
        error: One sentence for people.
        code: What programs go by.
        request_id: Also in `X-Request-ID`, and in our log.
        details: What is wrong in particular, such as `field` and `value`.
    """

    error: str
    code: str
    request_id: str
    details: Mapping[str, Any] | UnsetType = UNSET


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


class Components(Struct, kw_only=True):
    """The parts this process stands on.

    Attributes:
        kafka: Degraded while some partitions have no leader that answers; unhealthy when no broker does.
        worker: Only there, and degraded, while writes that were sent bring no result.
    """

    kafka: Component
    tables: Component
    database: Component
    worker: Component | UnsetType = UNSET


class Health(Struct, kw_only=True):
    """Whether writes and reads work; without its database, workers or some partitions it is degraded only.

    Attributes:
        reason: What is wrong with partitions of Kafka or with the workers, where something is.
    """

    status: Component
    service: str
    components: Components
    timestamp: datetime
    reason: str | UnsetType = UNSET


class Info(Struct, kw_only=True):
    """Which build this is and where it runs."""

    service: str
    version: str
    git_commit: str
    build_time: str
    api_version: str
    environment: str
