"""The envelope in which accepted changes are published on `cluster-events` (contract, section 5)."""

from typing import Any, Final, Literal, cast

from domain.cluster.commands import Command
from domain.cluster.events import Created, Deleted, Reconciled, Updated
from domain.cluster.state import Cluster, ClusterState
from domain.ids import deterministic_id
from streams.cluster.headers import EventHeaders
from streams.cluster.messages import (
    ClusterSnapshot,
    LifecycleEvent,
    LifecycleMetadata,
    ManualMetadata,
    ReactiveMetadata,
    ReconcileEvent,
    ScheduledMetadata,
)
from streams.json import encode, go_duration, rfc3339
from streams.writing.outputs import Output

LifecycleType = Literal["cluster.created", "cluster.updated", "cluster.deleted"]
_LIFECYCLE_TYPES: Final[dict[type, LifecycleType]] = {
    Created: "cluster.created",
    Updated: "cluster.updated",
    Deleted: "cluster.deleted",
}

PublicEvent = Created | Updated | Deleted | Reconciled


def event_output(
    topic: str,
    partition: int,
    event: PublicEvent,
    *,
    before: ClusterState | None,
    after: ClusterState,
    cause: Command | str,
    source: str,
) -> Output:
    """The record that publishes an event.

    Args:
        before, after: The cluster's state before and after the event.
        cause: The command or the id of the tick that caused it; the event's id is derived from it, so that
            a replay repeats the id.
        source: The name of the service.
    """
    cluster = after.cluster
    kind = "cluster.reconcile" if isinstance(event, Reconciled) else _LIFECYCLE_TYPES[type(event)]
    common: dict[str, Any] = {
        "id": deterministic_id(cluster.id, kind, cluster.generation, *_cause(cause, event, before or after)),
        "type": kind,
        "cluster_id": cluster.id,
        "generation": cluster.generation,
        "timestamp": event.at,
        "source": source,
        "cluster": _snapshot(cluster),
    }
    headers: EventHeaders = {
        "event_type": kind,
        "cluster_id": cluster.id,
        "generation": str(cluster.generation),
        "source": source,
        "timestamp": rfc3339(event.at),
        "platform": cluster.spec["platform"]["type"].lower(),
        "event_id": common["id"],
    }
    if isinstance(event, Reconciled):
        headers["reason"] = event.reason
        metadata = _reconcile_metadata(event, before or after)
        reconcile = ReconcileEvent(**common, reason=event.reason, metadata=metadata)
        return _output(topic, partition, reconcile, headers)
    assert isinstance(cause, Command)
    if cause.request_id:
        headers["request_id"] = cause.request_id
    lifecycle = LifecycleEvent(**common, metadata=_lifecycle_metadata(event, cause))
    if isinstance(event, Updated):
        lifecycle.changes = event.changes
    return _output(topic, partition, lifecycle, headers)


def _cause(cause: Command | str, event: PublicEvent, before: ClusterState) -> tuple[object, ...]:
    """The identity of an event, beside cluster, type and generation.

    A tick also depends on records of other topics. After a crash it may find another state, or its repeat may
    decide first. So the content of its events is part of their identity: one id never has two contents.
    """
    if isinstance(cause, Command):
        return cause.identity(before.cluster.created_by)
    assert isinstance(event, Reconciled)
    return (cause, event.at, event.reason, event.interval, before.schedule.last_reconciled_at)


def _output(
    topic: str, partition: int, body: LifecycleEvent | ReconcileEvent, headers: EventHeaders
) -> Output:
    said = cast("dict[str, str]", headers)  # a TypedDict of strings is a dict of strings, unseen by mypy
    return Output(topic, body.cluster_id.encode(), encode(body), said, partition=partition)


def _snapshot(cluster: Cluster) -> ClusterSnapshot:
    return ClusterSnapshot(
        id=cluster.id,
        name=cluster.name,
        spec=cluster.spec,
        created_by=cluster.created_by,
        target_project_id=cluster.target_project_id,
        generation=cluster.generation,
        resource_version=cluster.resource_version,
        created_at=cluster.created_at,
        updated_at=cluster.updated_at,
    )


def _lifecycle_metadata(event: Created | Updated | Deleted, command: Command) -> LifecycleMetadata:
    metadata = LifecycleMetadata(
        triggered_by=command.triggered_by,
        user_email=command.user_email,
        user_domain=command.user_email.rpartition("@")[2],
        request_id=command.request_id,
    )
    if isinstance(event, Deleted):
        metadata.force_delete = event.force
    return metadata


def _reconcile_metadata(
    event: Reconciled, before: ClusterState
) -> ScheduledMetadata | ReactiveMetadata | ManualMetadata:
    if event.scheduled_by == "manual_trigger":
        return ManualMetadata()
    if event.change is not None:
        kind, at = event.change
        return ReactiveMetadata(change_type=kind, trigger_reason=event.reason, triggered_at=at)
    return ScheduledMetadata(
        last_reconciled_at=before.schedule.last_reconciled_at,
        cluster_generation=before.cluster.generation,
        interval=go_duration(event.interval),
    )
