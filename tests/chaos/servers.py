"""What the machine gives faults: a disk that is full on demand, and a clock that can be stepped."""

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

DISK_BYTES: Final = 2 * 2**30  # of a disk while it has room; memory is taken for what is used only
SOURCE: Final = Path(__file__).with_name("clock.c")
SPARE_BYTES: Final = 64 * 1024  # what a full disk has left


class Disk:
    """A disk that can be full: a tmpfs over a directory, made smaller and larger while it is in use.

    Mounting takes root with CAP_SYS_ADMIN. Where that is missing there is no disk, and no such fault.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def mount(self) -> bool:
        """Mount it; whether that was allowed."""
        self.directory.mkdir(parents=True, exist_ok=True)
        return _ran("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=755", "tmpfs", str(self.directory))

    def fill(self) -> None:
        """Leave hardly any room. Raises: RuntimeError: it would not shrink."""
        self._resize(shutil.disk_usage(self.directory).used + SPARE_BYTES)

    def free(self) -> None:
        """Give the room back. Raises: RuntimeError: it would not grow."""
        self._resize(DISK_BYTES)

    def unmount(self) -> None:
        """Take it away, with all that is on it."""
        if not _ran("umount", "--lazy", str(self.directory)):
            raise RuntimeError(f"{self.directory} cannot be unmounted")

    def _resize(self, size: int) -> None:
        if not _ran("mount", "-o", f"remount,size={size}", str(self.directory)):
            raise RuntimeError(f"{self.directory} cannot be made {size} bytes large")


def _ran(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:  # there is no such command here
        return False


class Clock:
    """A wall clock that can be stepped, for the processes started with its environment (`clock.c`).

    Their monotonic clocks stay true, as they do when a real clock is stepped.
    """

    def __init__(self, directory: Path) -> None:
        self._library = directory / "clock.so"
        self._file = directory / "clock"

    def build(self) -> bool:
        """Make the library; whether there is a C compiler to do it."""
        self._library.parent.mkdir(parents=True, exist_ok=True)
        self.step(0)
        return _ran("cc", "-shared", "-fPIC", "-O2", "-o", str(self._library), str(SOURCE))

    def step(self, seconds: int) -> None:
        """Set it that far from the true one."""
        if not self._file.exists():
            self._file.write_bytes(bytes(8))
        with self._file.open("r+b") as file:  # the same file, since it is mapped
            file.write(struct.pack("=q", seconds))

    def environment(self) -> Mapping[str, str]:
        """What has a process live by it."""
        return {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK": str(self._file)}
