"""Ports of the embedded servers: as configured, else as the last time, else any that is free.

They are remembered so that a URL somebody wrote down yesterday works today. Free ones are looked for below
32768: above it, Linux and macOS hand ports to outgoing connections, and one of those could take ours while
its server is down.

Who has a port is looked up in the system's table of sockets and never by connecting: a connection to a port
of that upper range on which nobody listens may get the same port for its own end, and then talks to itself.
"""

import itertools
import json
import random
import shlex
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil

from deploy.embedded.errors import EmbeddedError

HOST = "127.0.0.1"  # never another interface: the servers have development settings
CANDIDATES = range(20000, 30000)
BESIDE = range(30000, 32700)  # for what runs on the servers of this machine for a while
ATTEMPTS = 200
SHOWN = 80  # characters of a command line

_round = itertools.cycle(random.sample(BESIDE, len(BESIDE)))


@dataclass(frozen=True, slots=True)
class Holder:
    """What keeps servers off a port.

    Attributes:
        text: For people, such as `python -m main web (pid 4711) in /home/me/other`.
        passing: Whether it ends by itself within a minute.
    """

    text: str
    passing: bool


def is_free(port: int, host: str = HOST) -> bool:
    """Whether a server could listen on the port now, on every address of the host."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return True  # no such host: who is to listen there says it better
    return all(_can_bind(family, address) for family, _, _, _, address in addresses)


def free_port() -> int:
    """A port for a program that is started next; no server here chooses it, no outgoing connection gets it.

    This process is given the same one again only after all others: a program that has been started does not
    have its port yet, and the next one must not get it.

    Raises: EmbeddedError: none is free.
    """
    found = next((port for port in itertools.islice(_round, ATTEMPTS) if is_free(port)), None)
    if found is None:
        raise EmbeddedError(f"found no free port between {BESIDE.start} and {BESIDE.stop - 1}")
    return found


def holder(port: int, host: str = HOST) -> Holder | None:
    """Who has the port, as far as this user may see it; None when it is free."""
    if is_free(port, host):
        return None
    try:
        there = [each for each in psutil.net_connections("tcp") if each.laddr and each.laddr.port == port]
    except psutil.AccessDenied:  # macOS shows other programs' sockets to root alone
        there = []
    listening = [each for each in there if each.status == psutil.CONN_LISTEN]
    if listening:
        return Holder(_program(listening[0].pid), passing=False)
    if there and all(each.status == psutil.CONN_TIME_WAIT for each in there):
        return Holder("a connection that has ended, for a minute at most (TIME-WAIT)", passing=True)
    if there:
        return Holder(f"a connection of {_program(there[0].pid)}", passing=False)
    return Holder(_program(None), passing=False)


def listens(pid: int, port: int) -> bool:
    """Whether this very process listens on the port; true where the system does not let us look."""
    try:
        sockets = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in sockets)


def _can_bind(family: int, address: tuple[object, ...]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections that ended at one do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


def _program(pid: int | None) -> str:
    try:
        if pid is None:
            return "a program that this user may not look at"
        process = psutil.Process(pid)
        command = shlex.join(process.cmdline()) or process.name()
        shown = command if len(command) <= SHOWN else f"{command[:SHOWN]}…"
        return f"{shown} (pid {pid}) in {process.cwd()}"
    except psutil.Error:  # it ended while we looked, or is somebody else's
        return f"pid {pid}"


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
