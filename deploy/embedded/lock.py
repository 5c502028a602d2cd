"""One stack at a time on a data directory.

The lock is the kernel's (flock), so it cannot be left behind. The guard holds it as well: a stack whose owner
was killed is locked until its servers are dead.
"""

import fcntl
import logging
import os
import time
from pathlib import Path

import psutil

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.private import run_directory

GUARD_ENDS_WITHIN = 15.0  # seconds; how long the servers of a killed owner may take to die
POLL = 0.05

logger = logging.getLogger(__name__)


class DirectoryLock:
    """The right to run servers on a data directory."""

    def __init__(self, data_dir: Path) -> None:
        """Take the lock.

        Raises: EmbeddedError: another stack runs on the directory, or it cannot be written.
        """
        path = data_dir / "lock"
        try:
            run_directory(data_dir)
            self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EmbeddedError(
                f"cannot write to {data_dir}: {error.strerror}; choose another data directory"
            ) from error
        try:
            self._take(data_dir)
        except BaseException:
            os.close(self.fd)
            raise
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Let others in."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)  # closing would not do while a fork of ours has it open
        os.close(self.fd)

    def _take(self, data_dir: Path) -> None:
        deadline = time.monotonic() + GUARD_ENDS_WITHIN
        told = False
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                holder = os.pread(self.fd, 32, 0).decode()
                if time.monotonic() > deadline or (holder and psutil.pid_exists(int(holder))):
                    raise EmbeddedError(
                        f"another embedded stack runs on {data_dir} (pid {holder or 'unknown'}): "
                        "stop it first, or choose another data directory"
                    ) from None
                if not told:
                    logger.info("waiting until the servers of a run that was killed are gone")
                    told = True
            time.sleep(POLL)
