"""Section 2.3: each code under its status, nothing of an unforeseen error in an answer, and not ready yet."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace

import aiohttp
import pytest

from domain.errors import Rejected, Unavailable
from serving.monitor import HealthMonitor
from serving.submit import Submitter
from streams.settings import KafkaSettings
from streams.topics import Topics
from tables.cluster import ClusterView
from tables.feed import Feed
from tests.e2e.product import Answer
from tests.web.answers import check, check_error
from tests.web.writing import Kafka, Ready
from web.server import create_app, serve
from web.settings import WebSettings

KAFKA = KafkaSettings(bootstrap_servers="nowhere", topics=Topics(), partitions=1, replication=1)
OWNER = {"X-User-Email": "owner@example.com"}
PAGE = "https://ui.example"


class Failing:
    """A health monitor that raises an error whenever the view is needed."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def require_view(self) -> None:
        raise self.error


async def answer_to(error: Exception, **headers: str) -> Answer:
    """What a list answers when this error comes up on the way."""
    return await get("/api/v1/clusters", Failing(error), **headers)


async def get(path: str, health: object, **headers: str) -> Answer:
    """What a web process of this health answers."""
    app = create_app(
        WebSettings(kafka=KAFKA, port=0, cors_origins=(PAGE,)),
        feed=Feed(ClusterView(), topic="cluster-state", max_changes=1, max_bytes=1),
        submitter=Submitter(producer=Kafka(), health=Ready(), timeout=timedelta(seconds=1)),  # type: ignore[arg-type]
        health=health,  # type: ignore[arg-type]
        served={},
        clusters=None,  # type: ignore[arg-type]  # no request here names one
    )
    runner = await serve(app)
    host, port = runner.addresses[0]
    try:
        async with (
            aiohttp.ClientSession(f"http://{host}:{port}") as client,
            client.get(path, headers={**OWNER, **headers}) as response,
        ):
            return Answer(response.status, response.headers, await response.read())
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "VALIDATION_FAILED"),
        (400, "INVALID_SPEC"),
        (401, "AUTH_REQUIRED"),
        (401, "INVALID_EMAIL"),
        (403, "FORBIDDEN"),
        (404, "RESOURCE_NOT_FOUND"),
        (405, "METHOD_NOT_ALLOWED"),
        (409, "CLUSTER_NAME_EXISTS"),
        (409, "CLUSTER_NOT_DELETABLE"),
        (409, "GENERATION_CONFLICT"),
        (409, "RESOURCE_CONFLICT"),
        (413, "PAYLOAD_TOO_LARGE"),
        (421, "MISDIRECTED_REQUEST"),
        (429, "TOO_MANY_WATCHES"),
        (500, "INTERNAL_ERROR"),
        (503, "UNAVAILABLE"),
    ],
)
async def test_a_code_has_its_status(status, code):
    answer = await answer_to(Rejected(code, "what is wrong", field="spec"), **{"X-Request-ID": "r-1"})
    check_error(answer, status, code, "what is wrong", field="spec")
    assert "r-1" == answer["request_id"]


async def test_an_error_that_nobody_foresaw_says_nothing_of_itself():
    error = ValueError("postgresql://user:secret@host/db: relation clusters does not exist")
    answer = await answer_to(error, Origin=PAGE)
    assert {} == check_error(answer, 500, "INTERNAL_ERROR")
    assert not any(word in answer.body for word in (b"secret", b"relation", b"ValueError", b"Traceback"))
    assert PAGE == answer.headers["Access-Control-Allow-Origin"]


async def test_what_is_away_now_may_be_asked_for_again_in_a_second():
    answer = await answer_to(Unavailable("Tables are still being read"))
    check_error(answer, 503, "UNAVAILABLE", "Tables are still being read")
    assert "1" == answer.headers["Retry-After"]


@pytest.mark.parametrize(
    ("kafka", "tables", "status"),
    [
        pytest.param(True, True, 200, id="all there: the missing database only degrades"),
        pytest.param(True, False, 503, id="tables still recovering"),
        pytest.param(False, True, 503, id="Kafka away"),
    ],
)
async def test_health_by_component(kafka, tables, status):
    caught_up = asyncio.Event()
    if tables:
        caught_up.set()
    health = HealthMonitor(SimpleNamespace(caught_up=caught_up), None, kafka_healthy=kafka)  # type: ignore[arg-type]
    answer = check(await get("/health", health), status)
    assert {200: "degraded", 503: "unhealthy"}[status] == answer["status"]
    words = {True: "healthy", False: "unhealthy"}
    assert {"kafka": words[kafka], "tables": words[tables], "database": "degraded"} == answer["components"]


async def test_before_the_tables_are_read_nothing_is_said_to_be_absent():
    health = HealthMonitor(SimpleNamespace(caught_up=asyncio.Event()), None)  # type: ignore[arg-type]
    for path in ("/api/v1/clusters", "/api/v1/clusters/00000000-0000-4000-8000-000000000000"):
        check_error(await get(path, health), 503, "UNAVAILABLE")
