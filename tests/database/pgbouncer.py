"""A real PgBouncer in front of the PostgreSQL of the tests."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.product import free_port

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

needed = pytest.mark.skipif(PROGRAM is None, reason="needs PgBouncer: apt-get install pgbouncer")

CONFIG = """
[databases]
* = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = 4
ignore_startup_parameters = {ignored}
"""


@contextmanager
def pgbouncer(database_url: str, *, mode: str = "transaction", ignored: str = "") -> Iterator[str]:
    """Runs it; the value is the URL of the same database behind it.

    Args:
        ignored: Parameters that it passes over at the start of a connection, instead of refusing them.
    """
    url, own_port = urlsplit(database_url), free_port()
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as directory:
        config = Path(directory) / "pgbouncer.ini"
        config.write_text(
            CONFIG.format(
                host=url.hostname,
                port=url.port,
                user=url.username,
                password=url.password,
                own_port=own_port,
                mode=mode,
                ignored=ignored,
            )
        )
        running = subprocess.Popen([PROGRAM or "", *_user(directory, config), "-q", str(config)])
        try:
            yield f"postgresql://{url.username}@127.0.0.1:{own_port}{url.path}"
        finally:
            running.terminate()
            running.wait(10)


def _user(directory: str, config: Path) -> list[str]:
    """It does not run as root: then as a user whom nothing belongs to but this directory."""
    if os.getuid() != 0:
        return []
    nobody = pwd.getpwnam("nobody")
    for path in (directory, config):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return ["-u", nobody.pw_name]
