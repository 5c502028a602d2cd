"""`clusterflow all`: what it sees before it starts anything, and whom it takes for ready."""

import asyncio
import os
import re
import threading
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cli.development import ROLES, Role, StartFailed, _own_ports
from cli.ports import PortsTaken, needed_ports, refuse_taken
from cli.running import AlreadyRuns, refuse_second, told
from settings import Settings
from tests.ports import ended_connection, free_row
from tests.processes import run


@contextmanager
def another_deployment(*ports):
    """One that says of all its ports that it is well; the paths that it was asked for."""
    asked: list[str] = []

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "ready"}')

        def log_message(self, *_):
            """Say nothing."""

    with ExitStack() as running:
        for port in ports:
            server = running.enter_context(ThreadingHTTPServer(("127.0.0.1", port), Ready))
            running.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, daemon=True).start()
        yield asked


GRPC = 1 + len(ROLES)
"""From the first port to the last."""

WANTED = ("REST", *(f"metrics of {name}" for name in ROLES), "gRPC")


GRPC = len(ROLES) + 1  # the place of its port, after REST and the metrics of each role


def settings(first, **others):
    return Settings(port=first, metrics_port=first + 1, grpc_service_port=first + GRPC, **others)


def needed(of, embedded=()):
    return needed_ports(of, roles=ROLES, embedded=embedded)


def test_beside_another_deployment_nothing_starts_and_all_of_it_is_told(tmp_path):
    first = free_row()
    ports = range(first, first + GRPC + 1)
    with another_deployment(*ports):
        ended = run(
            "all",
            RUN_DIR=str(tmp_path / "run"),
            PORT=str(first),
            METRICS_PORT=str(first + 1),
            GRPC_SERVICE_PORT=str(first + GRPC),
            HOME="/root",
        )
    assert (1, "") == (ended.returncode, re.sub(r"\d\d:\d\d:\d\d  .*\n", "", ended.stdout))
    assert "ready" not in ended.stdout
    lines = ended.stderr.splitlines()
    assert "Nothing was started, since these ports are not free:" == lines[0]
    for line, what in zip(
        lines[1:], ("REST", *(f"metrics of {name}" for name in ROLES), "gRPC"), strict=False
    ):
        assert f"{what}: taken by " in line
        assert f"(pid {os.getpid()}) in {os.getcwd()}" in line
    assert not (tmp_path / "run").exists()


def test_the_line_that_it_tells_to_type_works():
    first = free_row(40)
    with another_deployment(first, first + 12), pytest.raises(Exception, match="not free") as caught:
        refuse_taken(needed(settings(first)))
    line = str(caught.value).splitlines()[-1].strip()
    assert (
        line == f"PORT={first + 20} METRICS_PORT={first + 21} GRPC_SERVICE_PORT={first + 20 + GRPC} make run"
    )
    refuse_taken(needed(settings(first + 20)))


def test_a_taken_port_of_an_embedded_server_is_told_with_the_rest():
    first = free_row()
    port = first + GRPC + 1
    with another_deployment(port), pytest.raises(Exception, match="not free") as caught:
        refuse_taken(needed(settings(first, embedded_kafka_port=port), embedded=["kafka", "valkey"]))
    assert f"EMBEDDED_KAFKA_PORT {port:>5}  kafka: taken by" in str(caught.value)
    assert str(caught.value).endswith("\n  EMBEDDED_KAFKA_PORT= make run")


def test_two_things_that_would_need_one_port_are_told():
    first = free_row()
    doubled = Settings(port=first + 1, metrics_port=first)
    with pytest.raises(Exception, match=r"metrics of grpc: the same as of REST \(PORT\)"):
        refuse_taken(needed(doubled))


def test_free_ports_are_let_through():
    refuse_taken(needed(settings(free_row())))


def test_a_second_run_on_a_directory_is_told_what_to_do(tmp_path):
    refuse_second(str(tmp_path))
    running = told(str(tmp_path), {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"})
    with running, pytest.raises(AlreadyRuns, match=r"Ctrl-C .* RUN_DIR="):
        refuse_second(str(tmp_path))


async def test_a_role_is_ready_only_by_its_own_answer(tmp_path, monkeypatch):
    """A program that took the port after the check is not even asked."""
    monkeypatch.setattr("cli.development.READY_WITHIN", 1.0)
    port = free_row()
    role = Role(
        name="web",
        environment={},
        log_path=tmp_path / "log",
        pid_path=tmp_path / "web.pid",
        host="127.0.0.1",
        metrics_port=port,
    )
    role.process = await asyncio.create_subprocess_exec("sleep", "60")  # it runs, and does not listen
    try:
        with another_deployment(port) as asked, pytest.raises(StartFailed, match="web did not become ready"):
            await role.until_ready()
    finally:
        role.process.kill()
        await role.process.wait()
    assert asked == []


@pytest.mark.parametrize(
    "within",
    [pytest.param(0.2, id="for a while"), pytest.param(0.0, id="though a look takes longer than that")],
)
async def test_a_port_that_an_ended_connection_keeps_is_waited_for(tmp_path, monkeypatch, capsys, within):
    monkeypatch.setattr("cli.development.PASSING_WITHIN", within)
    port = free_row()
    ended_connection(port)
    with pytest.raises(PortsTaken, match=rf"{port} .*TIME-WAIT"):
        await _own_ports(settings(port, run_dir=str(tmp_path)), [])
    assert f"waiting for {port}: connections that have ended there" in capsys.readouterr().out


async def test_a_port_that_is_free_again_is_taken(tmp_path, monkeypatch):
    looks = [[8080], [8080], []]
    monkeypatch.setattr("cli.development.LOOK_AGAIN", 0.0)
    monkeypatch.setattr("cli.development.passing", lambda needed: looks.pop(0))
    await _own_ports(settings(free_row(), run_dir=str(tmp_path)), [])
    assert looks == []
