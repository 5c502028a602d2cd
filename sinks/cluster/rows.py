"""A record as rows, with the columns of `migrations/0001_clusters.sql`.

The sink decodes records with its own types instead of `domain.cluster.state`: JSON columns remain text from
topic to table, which makes decoding seven times as fast, and times and numbers are checked on the way. A
type's fields are a table's columns, in the order in which `sinks.cluster.mapping` passes them.
"""

import re
from datetime import datetime
from typing import Annotated, Final, NamedTuple

import msgspec
from aiokafka import ConsumerRecord
from msgspec import Meta, Raw, Struct

from domain.errors import MalformedRecord
from domain.health import Health
from sinks.mapping import decoded, text_of, written_at
from streams.cluster.messages import Generation
from streams.messages import UUID_PATTERN, Uuid


class ClusterRow(NamedTuple):
    """A row of `clusters`.

    Attributes:
        yielded: Whether it is marked deleted for its name alone (`sinks.cluster.names`).
    """

    id: str
    name: str
    target_project_id: str
    created_by: str
    generation: int
    resource_version: str
    spec: str
    status: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    state_partition: int
    state_offset: int
    secrets: str
    first_report_at: datetime | None
    health_override: str | None
    checked_at: datetime | None
    attached: bool
    yielded: bool = False


class ReportRow(NamedTuple):
    """A row of `controller_status`."""

    cluster_id: str
    controller_name: str
    observed_generation: int
    conditions: str
    metadata: str
    last_error: str | None
    updated_at: datetime


class ScheduleRow(NamedTuple):
    """A row of `reconciliation_schedule`; `updated_at` is the time of the record that changed it."""

    cluster_id: str
    last_reconciled_at: datetime | None
    next_reconcile_at: datetime
    enabled: bool
    needs_attention: bool
    created_at: datetime
    updated_at: datetime


class EventRow(NamedTuple):
    """A row of `cluster_events`; `reason`, if any, becomes a member of `metadata`."""

    id: str
    cluster_id: str
    event_type: str
    generation: int
    metadata: str
    reason: str | None
    published_at: datetime


class StateRows(NamedTuple):
    """All rows of one cluster; a deleted cluster has no schedule."""

    cluster: ClusterRow
    reports: tuple[ReportRow, ...]
    schedule: ScheduleRow | None


class Purge(NamedTuple):
    """A tombstone, which removes all rows of a cluster."""

    id: str
    state_partition: int
    state_offset: int


# --- the parts of records that columns need --------------------------------------------------------

Time = Annotated[datetime, Meta(tz=True)]


class _Cluster(Struct):
    id: Uuid
    name: str
    target_project_id: str
    created_by: str
    generation: Generation
    resource_version: str
    spec: Raw
    status: Raw
    created_at: Time
    updated_at: Time


class _Report(Struct):
    observed_generation: Generation
    last_updated: Time
    conditions: Raw = Raw(b"[]")
    metadata: Raw = Raw(b"{}")
    last_error: Raw = Raw(b"null")


class _Schedule(Struct):
    next_reconcile_at: Time
    last_reconciled_at: Time | None = None
    enabled: bool = True
    needs_attention: bool = True


class State(Struct):
    """A record of `cluster-state`; its rows are made only if no later one of the batch replaces them."""

    cluster: _Cluster
    schedule: _Schedule
    reports: dict[str, _Report] = {}
    secrets: Raw = Raw(b"{}")
    first_report_at: Time | None = None
    health_override: Health | None = None
    checked_at: Time | None = None
    attached: bool = False
    deleted_at: Time | None = None


class _Event(Struct):
    id: Uuid
    cluster_id: Uuid
    type: str
    generation: Generation
    timestamp: Time
    metadata: Raw = Raw(b"{}")
    reason: str | None = None


_state_decoder: Final = msgspec.json.Decoder(State)
_event_decoder: Final = msgspec.json.Decoder(_Event)
_CLUSTER_KEY: Final = re.compile(UUID_PATTERN.encode())


def read_state(record: ConsumerRecord) -> State | Purge:
    """Decode a record of `cluster-state`, checked as far as columns need it.

    Raises: MalformedRecord: `bad_key` or `invalid_schema`.
    """
    if record.value is None:
        return _purge(record)
    state = decoded(record, _state_decoder.decode)
    _check_key(record, state.cluster.id)
    return state


def state_rows(record: ConsumerRecord, state: State) -> StateRows:
    """The rows of a record of `cluster-state`."""
    cluster, schedule = state.cluster, state.schedule
    return StateRows(
        ClusterRow(
            cluster.id,
            cluster.name,
            cluster.target_project_id,
            cluster.created_by,
            cluster.generation,
            cluster.resource_version,
            text_of(cluster.spec),
            text_of(cluster.status),
            cluster.created_at,
            cluster.updated_at,
            state.deleted_at,
            record.partition,
            record.offset,
            text_of(state.secrets),
            state.first_report_at,
            state.health_override,
            state.checked_at,
            state.attached,
        ),
        tuple(_report_row(cluster.id, name, report) for name, report in state.reports.items()),
        None
        if state.deleted_at
        else ScheduleRow(
            cluster.id,
            schedule.last_reconciled_at,
            schedule.next_reconcile_at,
            schedule.enabled,
            schedule.needs_attention,
            cluster.created_at,
            written_at(record),
        ),
    )


def _report_row(cluster_id: str, controller_name: str, report: _Report) -> ReportRow:
    last_error = text_of(report.last_error)
    return ReportRow(
        cluster_id,
        controller_name,
        report.observed_generation,
        text_of(report.conditions),
        text_of(report.metadata),
        None if last_error == "null" else last_error,
        report.last_updated,
    )


def _purge(record: ConsumerRecord) -> Purge:
    if record.key is None or not _CLUSTER_KEY.fullmatch(record.key):
        raise MalformedRecord("bad_key", "a tombstone needs a cluster id as its key")
    return Purge(record.key.decode(), record.partition, record.offset)


def read_event(record: ConsumerRecord) -> EventRow:
    """The row of a record of `cluster-events`. Raises: MalformedRecord: `bad_key` or `invalid_schema`."""
    event = decoded(record, _event_decoder.decode)
    _check_key(record, event.cluster_id)
    return EventRow(
        event.id,
        event.cluster_id,
        event.type,
        event.generation,
        text_of(event.metadata),
        event.reason,
        event.timestamp,
    )


def _check_key(record: ConsumerRecord, cluster_id: str) -> None:
    if record.key != cluster_id.encode():
        raise MalformedRecord("bad_key", "the key is not the id of the cluster in the value")
