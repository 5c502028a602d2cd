"""Ports of this machine as a test needs them: free, listened on, or kept by a connection that has ended."""

import random
import socket

import pytest

from deploy.embedded.ports import is_free


def free_row(count=12):
    """The first of some free ports in a row, out of the way of the servers' and of outgoing connections."""
    for first in random.sample(range(30000, 32600), 200):
        if all(map(is_free, range(first, first + count))):
            return first
    pytest.fail("no free ports in a row")


def server(port=0, *, reuse=True):
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
    listening.bind(("127.0.0.1", port))
    listening.listen()
    return listening


def ended_connection(port):
    """One that this end, on the port, has closed first."""
    with server() as other, socket.socket() as client:
        client.bind(("127.0.0.1", port))
        client.connect(other.getsockname())
        accepted, _ = other.accept()
        client.shutdown(socket.SHUT_WR)
        assert accepted.recv(1) == b""
        accepted.close()
        assert client.recv(1) == b""
