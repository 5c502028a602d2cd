"""GET /health and /api/v1/info."""

import asyncpg
import pytest

from database import DatabaseSettings
from tests.e2e.product import free_port
from tests.web.answers import TIME, check


@pytest.mark.parametrize("path", ["/health", "/api/v1/health", "/api/v1/info"])
async def test_it_needs_no_identity(api, path):
    for email in (None, "nonsense"):
        check(await api.as_(email).get(path), 200)


async def test_info_tells_the_build(product):
    client = await product.web(version="1.2.3", git_commit="abc", build_time="2026-01-01T00:00:00Z")
    assert {
        "service": "clusterflow",
        "version": "1.2.3",
        "git_commit": "abc",
        "build_time": "2026-01-01T00:00:00Z",
        "api_version": "v1",
        "environment": "development",
    } == (await client.get("/api/v1/info")).json


async def test_all_is_well(product, servers):
    client = await product.web(database=DatabaseSettings(url=servers.database_url))
    body = check(await client.get("/health"), 200).json
    assert {"kafka": "healthy", "tables": "healthy", "database": "healthy"} == body["components"]
    assert ("healthy", "clusterflow") == (body["status"], body["service"])
    assert {"status", "service", "components", "timestamp"} == body.keys()
    assert TIME.fullmatch(body["timestamp"])


async def test_health_is_told_under_the_path_of_the_api_too(product):
    client = await product.web()
    bodies = [check(await client.get(path), 200).json for path in ("/health", "/api/v1/health")]
    for body in bodies:
        del body["timestamp"]
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize("path", ["/health", "/api/v1/health", "/api/v1/info"])
async def test_the_service_is_called_as_the_setting_says(product, path):
    client = await product.web(service_name="cls-backend")
    assert "cls-backend" == (await client.get(path))["service"]


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:secret@127.0.0.1:{port}/x", "postgresql://u:secret@host.invalid/x", "nonsense", "://"],
    ids=["nobody listens", "no such host", "no URL", "hardly text"],
)
async def test_a_missing_database_degrades_but_does_not_stop(product, url):
    client = await product.web(database=DatabaseSettings(url=url.format(port=free_port())))
    answer = check(await client.get("/health"), 200)
    components = answer["components"]
    assert "degraded" == answer["status"]
    assert ("healthy", "healthy") == (components["kafka"], components["tables"])
    assert components["database"] in ("degraded", "unhealthy")
    assert b"secret" not in answer.body


async def test_looking_after_the_database_takes_one_connection(product, servers, monkeypatch):
    url = await servers.new_database()
    monkeypatch.setattr("serving.monitor._CACHE_SECONDS", 0.0)
    client = await product.web(database=DatabaseSettings(url=url))
    connection = await asyncpg.connect(url)
    query = (
        "SELECT pid FROM pg_stat_activity"
        " WHERE application_name = 'clusterflow-web' AND datname = current_database()"
    )
    seen = set()
    for _ in range(3):
        assert "healthy" == (await client.get("/health"))["components"]["database"]
        seen |= {row["pid"] for row in await connection.fetch(query)}
    await connection.close()
    assert 1 == len(seen)
