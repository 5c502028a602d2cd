"""The envelope in which operations are told on `cluster-events` (operations contract, section 9)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from domain.entity import VersionedEntity
from domain.ids import deterministic_id
from streams.cause import Cause, announcement
from streams.trace import trace_id
from streams.writing.outputs import Output

EVENTS: Final = "cluster-events"
"""The topic of all public events of clusters and of what operators do to them."""

HEALTH_CHANGED: Final = "cluster.health_changed"
"""The one event of operations whose type begins as those of clusters do."""


class Envelope(Struct, kw_only=True):
    """Something has happened to what operators look after.

    Attributes:
        event_id: The same each time this event is told; drop what you have seen.
        trace_id: Of the request that has led to it, as a UUID.
        payload: What the event is about.
    """

    event_id: str
    type: str
    cluster_id: str | UnsetType = UNSET
    timestamp: datetime
    trace_id: str | UnsetType = UNSET
    payload: Mapping[str, Any]
    schema_version: int = 1


def told(event: Envelope, key: str, after: VersionedEntity, cause: Cause) -> Output:
    """The record of an event, under the key of what it is about."""
    own = cause._replace(event_id=event.event_id)  # whatever its sender wants
    record = announcement(EVENTS, key, event, after, own)
    return record._replace(headers={**record.headers, "event_type": event.type})


def common(kind: str, entity_id: str, type_: str, cause: Cause) -> dict[str, Any]:
    """The members that every event has; its id is the same on every replay."""
    members: dict[str, Any] = {
        "event_id": deterministic_id(kind, entity_id, type_, cause.id),
        "type": type_,
        "timestamp": cause.at,
    }
    if trace := trace_id(cause.headers):
        members["trace_id"] = str(UUID(hex=trace))
    return members
