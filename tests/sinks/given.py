"""Records as the agents publish them, and the rows that must come of them."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from domain.cluster.state import (
    Cluster,
    ClusterState,
    Condition,
    ControllerReport,
    LastError,
    ReportedCondition,
    Schedule,
    Status,
)
from domain.values import replace
from streams.json import encode, rfc3339

T0 = datetime(2030, 1, 1, 12, tzinfo=UTC)
OWNER = "owner@example.com"


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def uuid(word: object) -> str:
    return str(uuid5(NAMESPACE_OID, str(word)))


def status(phase: str = "Ready", generation: int = 1) -> Status:
    conditions = tuple(
        Condition(type=kind, status="True", lastTransitionTime=T0) for kind in ("Ready", "Available")
    )
    return Status(
        observedGeneration=generation,
        conditions=conditions,
        phase=phase,
        reason="AllControllersReady",
        message="Größe: ü ✓",
        lastUpdateTime=T0,
    )


def report(
    controller: str = "dns", generation: int = 1, *, at: float = 0, failing: bool = False
) -> ControllerReport:
    error = LastError(controllerName=controller, errorType="Fatal", message="no such zone", timestamp=T0)
    return ControllerReport(
        controller_name=controller,
        observed_generation=generation,
        conditions=(ReportedCondition(type="Available", status="True", lastTransitionTime=T0),),
        metadata={"zone": {"name": controller}},
        last_error=error if failing else None,
        last_updated=after(at),
    )


def cluster(
    word: object = "one",
    *,
    name: str | None = None,
    generation: int = 1,
    phase: str = "Ready",
    reports: Iterable[ControllerReport] = (),
    created: float = 0,
    deleted: float | None = None,
    spec: Mapping[str, Any] | None = None,
) -> ClusterState:
    """The record of a cluster; seconds are counted from T0."""
    return ClusterState(
        revision=generation,
        cluster=Cluster(
            id=uuid(word),
            name=name or f"c-{word}",
            target_project_id="",
            created_by=OWNER,
            generation=generation,
            resource_version=uuid((word, generation)),
            spec=spec or {"platform": {"type": "gcp"}, "note": "ü"},
            status=status(phase, generation),
            created_at=after(created),
            updated_at=after(created + generation),
        ),
        reports={report.controller_name: report for report in reports},
        schedule=Schedule(last_reconciled_at=None, next_reconcile_at=after(created + 60)),
        deleted_at=None if deleted is None else after(deleted),
        offsets={"cluster-commands": 7},
    )


def rescheduled(record: ClusterState, at: float) -> ClusterState:
    schedule = Schedule(last_reconciled_at=after(at), next_reconcile_at=after(at + 30), needs_attention=False)
    return replace(record, schedule=schedule)


def event(word: object, *, kind: str = "cluster.updated", reason: str | None = None) -> dict[str, Any]:
    """The value of a record of `cluster-events`, as `streams.cluster.events` makes it."""
    body: dict[str, Any] = {
        "id": uuid(("event", word)),
        "type": kind,
        "cluster_id": uuid("one"),
        "generation": 3,
        "timestamp": rfc3339(T0),
        "source": "clusterflow",
        "cluster": {"id": uuid("one"), "spec": {}},
        "metadata": {"triggered_by": "api_request", "request_id": None},
    }
    return body if reason is None else {**body, "reason": reason}


# --- rows, in a form that compares --------------------------------------------------------------------

Tables = dict[str, list[dict[str, Any]]]


def rows_of(records: Iterable[ClusterState]) -> Tables:
    """What the tables must hold when these are the newest records; reached through JSON alone."""
    tables: Tables = {"clusters": [], "controller_status": [], "reconciliation_schedule": []}
    for record in records:
        state = json.loads(encode(record))
        deleted_at = state["deleted_at"]
        tables["clusters"].append(
            {**state["cluster"], "metadata": {}, "status_dirty": False, "deleted_at": deleted_at}
        )
        for name, said in state["reports"].items():
            columns = ("observed_generation", "conditions", "metadata", "last_error")
            tables["controller_status"].append(
                {column: said[column] for column in columns}
                | {
                    "cluster_id": state["cluster"]["id"],
                    "controller_name": name,
                    "updated_at": said["last_updated"],
                }
            )
        if deleted_at is None:
            tables["reconciliation_schedule"].append(
                {
                    **state["schedule"],
                    "cluster_id": state["cluster"]["id"],
                    "created_at": state["cluster"]["created_at"],
                }
            )
    return {table: ordered(rows) for table, rows in tables.items()}


def ordered(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


def comparable(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the database with JSON decoded and times as the records write them."""
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return rfc3339(value)
        case str() if value[:1] in ("{", "["):
            return json.loads(value)
        case None | bool() | int() | str():
            return value
        case _:
            return str(value)
