"""What every answer has to look like, whatever it answers."""

import logging
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import pytest

from tests.e2e.product import Answer

JSON = "application/json; charset=utf-8"
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
RESPONSE_TIME = re.compile(r"\d+(\.\d+)?ms")
NOT_FOUND = "Cluster not found"


def check(answer: Answer, status: int) -> Answer:
    """An answer of this status, with what every answer has."""
    assert status == answer.status, answer
    assert answer.headers["X-Request-ID"]
    assert RESPONSE_TIME.fullmatch(answer.headers["X-Response-Time"]), answer.headers
    if status != 204:
        assert answer.headers["Content-Type"] == JSON
    return answer


def check_error(
    answer: Answer, status: int, code: str, text: str | None = None, **details: Any
) -> Mapping[str, Any]:
    """An error in the one shape; returns its details."""
    check(answer, status)
    body = answer.json
    assert code == body["code"], body
    assert isinstance(body["error"], str)
    assert body["error"]
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert body.keys() <= {"error", "code", "details", "request_id"}
    if text is not None:
        assert text == body["error"]
    found: Mapping[str, Any] = body.get("details", {})
    assert details.items() <= found.items(), body
    return found


def is_refusal(answer: Answer) -> None:
    """Some 4xx in the one shape: never a 500, never half an answer."""
    assert 400 <= answer.status < 500, answer
    check_error(answer, answer.status, answer["code"])


def check_cluster(cluster: Mapping[str, Any]) -> None:
    """The members and encodings of sections 1.1 and 1.3."""
    assert {
        *(
            "id",
            "name",
            "target_project_id",
            "created_by",
            "generation",
            "resource_version",
            "spec",
            "status",
        ),
        *("created_at", "updated_at"),
    } == cluster.keys()
    assert UUID4.fullmatch(cluster["id"])
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", cluster["resource_version"])
    for member in ("created_at", "updated_at"):
        assert TIME.fullmatch(cluster[member]), cluster[member]
    status = cluster["status"]
    assert {
        "observedGeneration",
        "conditions",
        "phase",
        "reason",
        "message",
        "lastUpdateTime",
    } == status.keys()
    assert ["Ready", "Available"] == [condition["type"] for condition in status["conditions"]]
    for condition in status["conditions"]:
        assert {"type", "status", "lastTransitionTime", "reason", "message"} == condition.keys()
        assert TIME.fullmatch(condition["lastTransitionTime"])
    assert TIME.fullmatch(status["lastUpdateTime"])
    assert cluster["generation"] == status["observedGeneration"]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def logged(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What web has logged; other parts may run in the same process, and log what is theirs.

    So does the database's pool: a query that took long on a busy machine says nothing about a request.
    """
    return [
        record
        for record in caplog.records
        if record.name.startswith(("clusterflow", "aiohttp")) and record.name != "clusterflow.repository"
    ]


def complaints(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What web has logged that an operator is to look at."""
    return [record for record in logged(caplog) if record.levelno > logging.INFO]
