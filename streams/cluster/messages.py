"""The messages of clusters, of their names and of their clock, as the types they are decoded with."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from domain.cluster.spec import MAX_NAME, MAX_PROJECT_ID, NAME_PATTERN
from domain.cluster.state import Cluster, ConditionStatus
from domain.health import Health
from streams.messages import SOURCE, Email, Holds, ResultBase, Source, Time, Uuid

Generation = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Name = Annotated[str, Meta(extra_json_schema={"pattern": f"^{NAME_PATTERN}$", "maxLength": MAX_NAME})]
ProjectId = Annotated[str, Meta(extra_json_schema={"maxLength": MAX_PROJECT_ID})]
Spec = Annotated[dict[str, Any], Meta(description="What is desired; a free-form object, see `cluster-spec`")]


class CommandBase(Struct, kw_only=True, tag_field="type", omit_defaults=True):
    """What every command message carries."""

    command_id: Uuid
    cluster_id: Uuid
    user_email: Email
    issued_at: Time


class CreateMessage(CommandBase, tag="cluster.create"):
    """Create a cluster; from clients on `cluster-create-requests`."""

    name: Name
    spec: Spec
    target_project_id: ProjectId | None = ""


class UpdateMessage(CommandBase, tag="cluster.update"):
    """Replace the spec."""

    spec: Spec
    expected_generation: Generation | None = None
    expected_resource_version: str | None = None


class DeleteMessage(CommandBase, tag="cluster.delete"):
    """Delete."""

    force: bool | None = False
    expected_generation: Generation | None = None
    expected_resource_version: str | None = None


class ReconcileMessage(CommandBase, tag="cluster.reconcile"):
    """Announce the cluster to its controllers now."""


class AttachMessage(Struct, kw_only=True, tag_field="type", tag="cluster.attach"):
    """Say on `members.commands` whether there is such a cluster, and when it is deleted."""

    command_id: Uuid
    cluster_id: Uuid


class SetHealthMessage(CommandBase, tag="cluster.health"):
    """Say how the cluster is, whatever its phase says; without `health` that is taken back."""

    health: Health | None = None


class ReleaseMessage(Struct, kw_only=True, tag_field="type", tag="name.release"):
    """Free a name on `cluster-name-requests`, if this cluster holds it."""

    cluster_id: Uuid
    release: bool = True


CommandMessage = CreateMessage | UpdateMessage | DeleteMessage | ReconcileMessage
AcceptedMessage = CommandMessage | AttachMessage | SetHealthMessage
NameRequestMessage = CreateMessage | ReleaseMessage


class ConditionMessage(Struct, kw_only=True, omit_defaults=True):
    """A condition as a controller reports it."""

    type: Annotated[str, Meta(min_length=1, max_length=316)]
    status: ConditionStatus
    lastTransitionTime: Time | None = None
    reason: str | None = ""
    message: str | None = ""
    severity: Literal["Info", "Warning", "Error", "Critical"] | None = None


class LastErrorMessage(Struct, kw_only=True, omit_defaults=True):
    """An error as a controller reports it; `code` is an alias of `errorCode`."""

    one_of: ClassVar = ("message", "errorCode", "code")  # one of these says something

    controllerName: str | None = ""
    errorType: Literal["Transient", "Configuration", "Fatal", "System"] | Literal[""] | None = ""
    errorCode: str | None = ""
    code: str | None = ""
    message: str | None = ""
    userActionable: bool | None = False
    suggestions: list[str] | None = None
    details: dict[str, Any] | None = None
    retryAfter: int | str | None = None
    timestamp: Time | None = None


# Others may be null as well, as Go's clients send them; here the contract says so.
_OR_NULL = Meta(extra_json_schema={"type": ["object", "null"]})


class ReportBody(Struct, kw_only=True, omit_defaults=True):
    """A status report: the body of PUT status."""

    controller_name: Annotated[str, Meta(min_length=1, max_length=255)]
    observed_generation: Generation
    conditions: Annotated[list[ConditionMessage], Meta(max_length=64)] | None = None
    metadata: dict[str, Any] | None = None
    last_error: Annotated[LastErrorMessage | None, _OR_NULL] = None
    report_id: Uuid | None = None
    reported_at: Time | None = None


class ReportMessage(ReportBody, kw_only=True):
    """A status report on `cluster-status-reports`."""

    cluster_id: Uuid


class TickMessage(Struct, kw_only=True):
    """A clock tick; what counts is the time the broker stamped on its record.

    Attributes:
        announce: One of those between two regular ticks, for changes that wait to be announced.
        reconcile: One of those, to go on with what the regular one has left, so many reconciles at most.
    """

    tick_id: str
    at: Time
    announce: bool = False
    reconcile: int = 0


class ResultMessage(ResultBase, kw_only=True):
    """What became of a command, or of a report that somebody waits for.

    Attributes:
        outcome: `applied`, `duplicate`, `rejected`; for a report also `stale`.
        cluster: The cluster as it is after the command, absent when it was rejected.
    """

    cluster: Annotated[Raw, Holds(Cluster)] | UnsetType = UNSET


# --- events: what is told to everyone (contract, section 5) ----------------------------------------


class ClusterSnapshot(Struct, kw_only=True):
    """A cluster as events show it: without status and secrets."""

    id: str
    name: str
    spec: Mapping[str, Any]
    created_by: str
    target_project_id: str
    generation: int
    resource_version: str
    created_at: datetime
    updated_at: datetime


class LifecycleMetadata(Struct, kw_only=True):
    """Who caused a lifecycle event.

    Attributes:
        triggered_by: `api_request` or `kafka_command`.
        user_domain: What follows the `@` of `user_email`.
        request_id: The HTTP request behind it, if any.
        force_delete: Only of a delete: whether it was forced.
    """

    triggered_by: str
    user_email: str
    user_domain: str
    request_id: str | None
    force_delete: bool | UnsetType = UNSET


class ScheduledMetadata(Struct, kw_only=True, tag_field="scheduled_by", tag="reconciliation_scheduler"):
    """Why the schedule asks.

    Attributes:
        last_reconciled_at: When it asked before; null for the first time.
        interval: Until it asks again, in Go's syntax: `30s`, `5m`.
    """

    last_reconciled_at: datetime | None
    cluster_generation: int
    interval: str


class ReactiveMetadata(Struct, kw_only=True, tag_field="scheduled_by", tag="reactive_reconciliation"):
    """Which change is announced, and when it happened."""

    change_type: str
    trigger_reason: str
    triggered_at: datetime


class ManualMetadata(Struct, kw_only=True, tag_field="scheduled_by", tag="manual_trigger"):
    """Somebody asked by a command."""

    trigger_type: Literal["immediate"] = "immediate"


class LifecycleEvent(Struct, kw_only=True):
    """A write was accepted.

    Attributes:
        id: The same each time this event is told; drop what you have seen.
        generation: The cluster's, after the write.
        cluster: The cluster after the write; after a delete as it was last.
        changes: Only of an update: dotted path to `{"from": …, "to": …}`, secrets masked.
    """

    id: str
    type: Literal["cluster.created", "cluster.updated", "cluster.deleted"]
    cluster_id: str
    generation: int
    timestamp: datetime
    source: Source = SOURCE
    cluster: ClusterSnapshot
    changes: Mapping[str, Any] | UnsetType = UNSET
    metadata: LifecycleMetadata


class ReconcileEvent(Struct, kw_only=True):
    """Controllers are asked to compare what is desired with what is there.

    Attributes:
        id: The same each time this event is told; drop what you have seen.
        generation: The cluster's current one.
        reason: One of the reasons of contract, section 5.4.
    """

    id: str
    type: Literal["cluster.reconcile"] = "cluster.reconcile"
    cluster_id: str
    generation: int
    timestamp: datetime
    source: Source = SOURCE
    cluster: ClusterSnapshot
    reason: str
    metadata: ScheduledMetadata | ReactiveMetadata | ManualMetadata
