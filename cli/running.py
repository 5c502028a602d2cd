"""The servers of a `clusterflow all` that runs here, for commands in another terminal.

They are in a file of the run directory that its owner alone may read, since the URL of a database holds a
password. The file is locked for as long as the run lasts, so one that a killed run has left says nothing.
"""

import fcntl
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cli.databases import variables
from database.names import DATABASES
from domain.errors import ControlPlaneError
from settings import Settings

_FILE: Final = "servers.json"
_SERVERS: Final = (
    "kafka_bootstrap_servers",
    "database_url",
    *(variable for name in DATABASES for variable in variables(name).values()),
)
_TOLD: Final = (*_SERVERS, "redis_url", "kafka_replication", "kafka_partitions")


class AlreadyRuns(ControlPlaneError):
    """A run is under way on the same directory; the text says what to do."""


@contextmanager
def told(run_dir: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Let commands find the servers that the roles of this run are given by these variables."""
    servers = {name: environment[name.upper()] for name in _TOLD if name.upper() in environment}
    path = Path(run_dir) / _FILE
    path.unlink(missing_ok=True)
    with open(path, "x", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump(servers, file)
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def joined(settings: Settings) -> Settings:
    """The settings, with the servers of the run that is under way, if they name none of their own.

    All of its servers or none: no command is to compare one deployment's Kafka with another's database.
    """
    if settings.model_fields_set.intersection(_SERVERS):
        return settings
    found = _under_way(Path(settings.run_dir) / _FILE)
    if found:
        print(f"over the servers that run in {settings.run_dir}/", file=sys.stderr)
    return Settings(**{name: value for name, value in found.items() if name not in settings.model_fields_set})


def refuse_second(run_dir: str) -> None:
    """Raises: AlreadyRuns: a run is under way on this directory."""
    if _under_way(Path(run_dir) / _FILE):
        raise AlreadyRuns(
            f"another `clusterflow all` runs in {run_dir}/, and one run at a time has it: end that one with"
            " Ctrl-C in its terminal, or give this one a directory of its own, such as"
            f" RUN_DIR={run_dir}-2, and ports of its own (PORT, METRICS_PORT)"
        )


def _under_way(path: Path) -> dict[str, Any]:
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return {}
    except BlockingIOError:
        servers: dict[str, Any] = json.loads(path.read_text())
        return servers
    return {}
