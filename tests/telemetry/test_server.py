"""The metrics port answers to our names alone."""

import aiohttp
import pytest

from domain.hosts import Hosts
from telemetry.server import metrics_server
from tests.e2e.product import free_port

PATHS = ("/metrics", "/live", "/ready", "/nowhere")


@pytest.mark.parametrize(
    ("bound", "host", "answers"),
    [
        ("127.0.0.1", None, True),
        ("127.0.0.1", "localhost:8081", True),
        ("127.0.0.1", "sink.example", True),
        ("127.0.0.1", "evil.example", False),
        ("127.0.0.1", "10.244.1.7", False),
        ("0.0.0.0", "10.244.1.7:8081", True),
        ("0.0.0.0", "worker:8081", False),
    ],
)
async def test_a_request_by_another_name_is_refused(bound, host, answers):
    port = free_port()
    server = metrics_server(bound, port, hosts=Hosts(bound, ["sink.example"]), ready=lambda: True)
    async with server, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        for path in PATHS:
            async with client.get(path, headers={} if host is None else {"Host": host}) as answer:
                if answers:
                    assert answer.status == (404 if path == "/nowhere" else 200)
                else:
                    body = await answer.json()
                    assert (421, "MISDIRECTED_REQUEST") == (answer.status, body["code"])
                    assert "ALLOWED_HOSTS" in body["error"]


async def test_readiness_names_partitions_that_it_does_not_depend_on():
    port = free_port()
    server = metrics_server(
        "127.0.0.1",
        port,
        hosts=Hosts("127.0.0.1"),
        ready=lambda: True,
        held=lambda: ["a/0"],
        unavailable=lambda: ["b/1", "b/2"],
    )
    async with (
        server,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
        client.get("/ready") as answer,
    ):
        body = await answer.json()
    assert 200 == answer.status
    assert {
        "status": "ready",
        "held_partitions": ["a/0"],
        "unavailable_partitions": ["b/1", "b/2"],
    } == body


async def test_a_host_that_is_none_is_refused():
    port = free_port()
    server = metrics_server("127.0.0.1", port, hosts=Hosts("127.0.0.1"), ready=lambda: True)
    async with (
        server,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
        client.get("/metrics", headers={"Host": "a b"}) as answer,
    ):
        assert 400 == answer.status
