"""A record as rows: what it says in the columns of `migrations/0001_clusters.sql`.

The sink reads the bytes by its own types instead of `domain.cluster.state`: JSON columns stay text from topic
to table, which makes decoding seven times as fast, and times and numbers are checked on the way. A type's
fields are a table's columns, in the order in which `sinks.postgres` passes them.
"""

import re
from datetime import datetime
from typing import Annotated, Final, NamedTuple

import msgspec
from aiokafka import ConsumerRecord
from msgspec import Meta, Raw, Struct

from domain.errors import MalformedRecord
from streams.cluster.messages import Generation
from streams.json import from_millis
from streams.messages import UUID_PATTERN, Uuid
from streams.reading.unpacking import unreadable
from streams.topics import Topics
from streams.turns.claims import NO_CLAIM


class ClusterRow(NamedTuple):
    """A row of `clusters`; `yielded` is whether it is marked deleted for its name alone (`sinks.names`)."""

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
    """All rows of one cluster; no schedule once it is deleted."""

    cluster: ClusterRow
    reports: tuple[ReportRow, ...]
    schedule: ScheduleRow | None


class Purge(NamedTuple):
    """A tombstone: all rows of a cluster go."""

    id: str
    state_partition: int
    state_offset: int


# --- the records, as far as columns need them ------------------------------------------------------

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
    deleted_at: Time | None = None


class _Event(Struct):
    id: Uuid
    cluster_id: Uuid
    type: str
    generation: Generation
    timestamp: Time
    metadata: Raw = Raw(b"{}")
    reason: str | None = None


Content = State | Purge | EventRow


class Change(NamedTuple):
    """A record and what it says.

    Attributes:
        content: None if only its offset counts: parked as a dead letter, a claim, or a zombie's.
        claim: The claim that stands in its partition after it (`streams.turns.claims`).
    """

    record: ConsumerRecord
    content: Content | None
    claim: int = NO_CLAIM


_state_decoder: Final = msgspec.json.Decoder(State)
_event_decoder: Final = msgspec.json.Decoder(_Event)
_LAST_MILLIS: Final = 253_402_300_799_000  # the end of the year 9999
_CLUSTER_KEY: Final = re.compile(UUID_PATTERN.encode())


def read(record: ConsumerRecord, topics: Topics) -> Content:
    """What a record says, checked as far as columns need it.

    Raises: MalformedRecord: `unreadable`, `bad_key` or `invalid_schema`.
    """
    if (why := unreadable(record)) is not None:
        raise MalformedRecord("unreadable", why)
    try:
        str(record.value or b"", "utf-8")  # what is taken over as it is has to be text, too
        if record.topic == topics.events:
            return _event(record)
        return _purge(record) if record.value is None else _state(record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedRecord("invalid_schema", str(error)) from error


def _state(record: ConsumerRecord) -> State:
    state = _state_decoder.decode(record.value)
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
            _text(cluster.spec),
            _text(cluster.status),
            cluster.created_at,
            cluster.updated_at,
            state.deleted_at,
            record.partition,
            record.offset,
            _text(state.secrets),
            state.first_report_at,
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


def written_at(record: ConsumerRecord) -> datetime:
    """When a record was written, by its own time; the nearest that a column holds for one that never was."""
    return from_millis(min(max(record.timestamp, 0), _LAST_MILLIS))


def _report_row(cluster_id: str, controller_name: str, report: _Report) -> ReportRow:
    last_error = _text(report.last_error)
    return ReportRow(
        cluster_id,
        controller_name,
        report.observed_generation,
        _text(report.conditions),
        _text(report.metadata),
        None if last_error == "null" else last_error,
        report.last_updated,
    )


def _purge(record: ConsumerRecord) -> Purge:
    if record.key is None or not _CLUSTER_KEY.fullmatch(record.key):
        raise MalformedRecord("bad_key", "a tombstone needs a cluster id as its key")
    return Purge(record.key.decode(), record.partition, record.offset)


def _event(record: ConsumerRecord) -> EventRow:
    event = _event_decoder.decode(record.value or b"")
    _check_key(record, event.cluster_id)
    return EventRow(
        event.id,
        event.cluster_id,
        event.type,
        event.generation,
        _text(event.metadata),
        event.reason,
        event.timestamp,
    )


def _check_key(record: ConsumerRecord, cluster_id: str) -> None:
    if record.key != cluster_id.encode():
        raise MalformedRecord("bad_key", "the key is not the id of the cluster in the value")


def _text(json: Raw) -> str:
    return str(json, "utf-8")
