"""The envelope in which an accepted change is told to everyone on `cluster-events` (contract, section 5)."""

from datetime import datetime, timedelta
from typing import Any

from domain.cluster import ClusterRecord
from domain.commands import Command
from domain.decide import deterministic_id
from domain.events import Created, Deleted, Reconciled, Updated
from streams.codec import encode, rfc3339
from streams.producer import Output

SOURCE = "clusterflow"
_TYPES = {
    Created: "cluster.created",
    Updated: "cluster.updated",
    Deleted: "cluster.deleted",
    Reconciled: "cluster.reconcile",
}
_SNAPSHOT = (
    "id",
    "name",
    "spec",
    "created_by",
    "target_project_id",
    "generation",
    "resource_version",
    "created_at",
    "updated_at",
)

PublicEvent = Created | Updated | Deleted | Reconciled


def event_output(
    topic: str,
    partition: int,
    event: PublicEvent,
    *,
    before: ClusterRecord | None,
    after: ClusterRecord,
    cause: Command | str,
) -> Output:
    """The record that tells of an event.

    Args:
        before, after: The cluster's record around the event.
        cause: The command behind it, or the id of the tick; the event's id follows from it, so that a
            replay repeats the id.
    """
    cluster = after.cluster
    kind = _TYPES[type(event)]
    cause_id = cause if isinstance(cause, str) else cause.command_id
    event_id = deterministic_id(cluster.id, kind, cluster.generation, cause_id)
    timestamp = rfc3339(event.at)
    body: dict[str, Any] = {
        "id": event_id,
        "type": kind,
        "cluster_id": cluster.id,
        "generation": cluster.generation,
        "timestamp": timestamp,
        "source": SOURCE,
        "cluster": {member: getattr(cluster, member) for member in _SNAPSHOT},
    }
    headers = {
        "event_type": kind,
        "cluster_id": cluster.id,
        "generation": str(cluster.generation),
        "source": SOURCE,
        "timestamp": timestamp,
        "platform": cluster.spec["platform"]["type"].lower(),
        "event_id": event_id,
    }
    if isinstance(event, Updated):
        body["changes"] = event.changes
    if isinstance(event, Reconciled):
        body["reason"] = headers["reason"] = event.reason
        body["metadata"] = _reconcile_metadata(event, before or after)
    elif isinstance(cause, Command):
        body["metadata"] = _lifecycle_metadata(event, cause)
        if cause.request_id:
            headers["request_id"] = cause.request_id
    return Output(topic, cluster.id.encode(), encode(body), headers, partition=partition)


def _lifecycle_metadata(event: PublicEvent, command: Command) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "triggered_by": command.triggered_by,
        "user_email": command.user_email,
        "user_domain": command.user_email.rpartition("@")[2],
        "request_id": command.request_id,
    }
    if isinstance(event, Deleted):
        metadata["force_delete"] = event.force
    return metadata


def _reconcile_metadata(event: Reconciled, before: ClusterRecord) -> dict[str, Any]:
    if event.scheduled_by == "manual_trigger":
        return {"scheduled_by": event.scheduled_by, "trigger_type": "immediate"}
    last: datetime | None = before.schedule.last_reconciled_at
    return {
        "scheduled_by": event.scheduled_by,
        "last_reconciled_at": None if last is None else rfc3339(last),
        "cluster_generation": before.cluster.generation,
        "interval": go_duration(event.interval),
    }


def go_duration(interval: timedelta) -> str:
    """A duration in Go's syntax, zero parts left out: `30s`, `5m`, `1h30m`."""
    milliseconds = round(interval.total_seconds() * 1000)
    text = ""
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
