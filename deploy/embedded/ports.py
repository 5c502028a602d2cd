"""Ports of the embedded servers: as configured, else as the last time, else any that is free.

They are remembered so that a URL somebody wrote down yesterday works today. Free ones are looked for below
32768: above it, Linux and macOS hand ports to outgoing connections, and one of those could take ours while
its server is down.
"""

import json
import random
import socket
import threading
from pathlib import Path

from deploy.embedded.errors import EmbeddedError

HOST = "127.0.0.1"  # never another interface: the servers have development settings
CANDIDATES = range(20000, 30000)
ATTEMPTS = 200


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do: old connections do not count
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


class Ports:
    """The ports of one data directory, kept in its `ports.json`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._one_at_a_time = threading.Lock()  # the servers of a stack start in parallel

    def choose(self, name: str, configured: int | None) -> int:
        """The port for the server `name`, which may be taken if it is the configured one.

        Raises: EmbeddedError: none is free.
        """
        with self._one_at_a_time:
            known = self._read()
            port = known.get(name)
            if configured is not None:
                port = configured
            elif port is None or not is_free(port):
                port = _any_free(taken=set(known.values()))
            self._write(known | {name: port})
        return port

    def _read(self) -> dict[str, int]:
        if not self._path.exists():
            return {}
        return {str(name): int(port) for name, port in json.loads(self._path.read_text()).items()}

    def _write(self, known: dict[str, int]) -> None:
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(known, indent=2) + "\n")
        part.replace(self._path)


def _any_free(taken: set[int]) -> int:
    for port in random.sample(CANDIDATES, ATTEMPTS):
        if port not in taken and is_free(port):
            return port
    raise EmbeddedError(
        f"found no free port between {CANDIDATES.start} and {CANDIDATES.stop - 1}; name one that is free"
    )
