"""Who has a port, and that no answer is taken for a server's but its own."""

import logging
import os
import random
import socket
import subprocess
import sys
import threading

import pytest

from deploy.embedded import EmbeddedError, Stack
from deploy.embedded.kafka import live_brokers
from deploy.embedded.ports import CANDIDATES, free_port, holder, is_free, listens
from deploy.embedded.server import PASSING_WITHIN
from tests.ports import ended_connection, server

# Of the range out of which the system takes the ends of outgoing connections.
EPHEMERAL = range(45000, 46000)


@pytest.fixture
def ephemeral():
    """A free port that an outgoing connection may get for its own end."""
    return next(port for port in random.sample(EPHEMERAL, 200) if is_free(port))


class AnsweringItself:
    """Connects a port to itself, as a poll of it does by chance, and keeps the connection."""

    def __init__(self, port):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", port))
        self.socket.connect(("127.0.0.1", port))


def test_a_free_port_has_no_holder(ephemeral):
    assert holder(ephemeral) is None


def test_ports_for_programs_are_apart_from_those_of_servers_and_of_outgoing_connections():
    ports = {free_port() for _ in range(50)}
    assert 50 == len(ports), "the first is still about to listen when the next one is started"
    assert not ports & {*CANDIDATES}
    assert max(ports) < 32768


def test_who_listens_is_named():
    with server() as listening:
        found = holder(listening.getsockname()[1])
    assert (False, True) == (found.passing, f"(pid {os.getpid()}) in {os.getcwd()}" in found.text)


def test_a_connection_that_uses_the_port_is_named(ephemeral):
    with server() as other, socket.socket() as client:
        client.bind(("127.0.0.1", ephemeral))
        client.connect(other.getsockname())
        found = holder(ephemeral)
    assert found.text.startswith("a connection of ")
    assert not found.passing


def test_a_connection_that_has_ended_passes(ephemeral):
    ended_connection(ephemeral)
    found = holder(ephemeral)
    assert (True, True) == (found.passing, "TIME-WAIT" in found.text)


def test_ended_connections_of_a_server_do_not_count(ephemeral):
    with server(ephemeral) as listening, socket.create_connection(listening.getsockname()) as client:
        accepted, _ = listening.accept()
        accepted.close()  # the server's end is first, and is the one that waits
        client.recv(1)
    assert holder(ephemeral) is None


def test_a_port_is_looked_at_on_the_host_that_is_to_listen():
    with socket.socket() as elsewhere:
        elsewhere.bind(("127.0.0.2", 0))
        elsewhere.listen()
        port = elsewhere.getsockname()[1]
        assert (True, False) == (is_free(port, "127.0.0.1"), is_free(port, "0.0.0.0"))


def test_only_who_listens_is_said_to():
    with server() as listening, socket.create_connection(listening.getsockname()) as client:
        assert listens(os.getpid(), listening.getsockname()[1])
        assert not listens(os.getppid(), listening.getsockname()[1])
        assert not listens(os.getpid(), client.getsockname()[1])
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert not listens(gone.pid, 1)


def test_kafka_is_not_found_in_a_connection_to_itself(monkeypatch, ephemeral):
    monkeypatch.setattr(
        "deploy.embedded.kafka.node.socket.create_connection",
        lambda *_, **__: AnsweringItself(ephemeral).socket,
    )
    with pytest.raises(ConnectionError, match="met itself"):
        live_brokers(ephemeral)


def test_a_stranger_on_the_port_is_not_taken_for_the_server(data_dir, monkeypatch):
    """A program that takes the port between the check and the start is not believed."""
    monkeypatch.setattr("deploy.embedded.valkey.Valkey.start_within", 1.0)
    monkeypatch.setattr("deploy.embedded.server.Server.settle_port", lambda self: None)
    with server() as stranger:
        stack = Stack(data_dir, valkey_port=stranger.getsockname()[1])
        stack.valkey._port = stranger.getsockname()[1]
        threading.Thread(target=pong, args=(stranger,), daemon=True).start()
        with pytest.raises(EmbeddedError, match="the embedded Valkey "):
            stack.start(["valkey"])


def pong(listening):
    while True:
        try:
            accepted, _ = listening.accept()
        except OSError:
            return
        accepted.sendall(b"+PONG\r\n")
        accepted.close()


def test_ports_are_looked_at_before_the_first_server_starts(data_dir):
    with server() as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError, match=rf"^port {port} is taken .* the embedded Valkey"):
            Stack(data_dir, valkey_port=port).start(["postgres", "valkey"])
    assert not (data_dir / "logs").exists()


def test_a_server_waits_for_an_ended_connection(data_dir, monkeypatch, caplog, ephemeral):
    ended_connection(ephemeral)
    monkeypatch.setattr("deploy.embedded.server.PASSING_WITHIN", 0.3)
    with (
        caplog.at_level(logging.INFO, logger="deploy.embedded"),
        pytest.raises(EmbeddedError, match="TIME-WAIT"),
    ):
        Stack(data_dir, valkey_port=ephemeral).start(["valkey"])
    told = [record.message for record in caplog.records if record.name.startswith("deploy.")]
    assert [f"Valkey waits for port {ephemeral}: it belongs to {holder(ephemeral).text}"] == told
    assert PASSING_WITHIN > 60, "which is how long Linux keeps it"


def test_kafka_becomes_ready_on_a_port_out_of_which_polls_of_it_could_be_made(data_dir, ephemeral):
    stack = Stack(data_dir, kafka_port=ephemeral)
    stack.start(["kafka"])
    try:
        assert listens(stack.kafka.pid, ephemeral)
        assert {1} == live_brokers(ephemeral)
    finally:
        stack.stop()
