"""Directories and files that their owner alone can read: data, logs and passwords are nobody else's."""

import os
import secrets
import stat
from pathlib import Path

DIRECTORY = 0o700
FILE = 0o600
UMASK = 0o077  # of the servers

_OURS = ("lock", "secret.key")  # what a directory has that a run has used before


def run_directory(path: Path) -> None:
    """Make the directory of a run, or close one that is there to others.

    One that somebody keeps other things in stays as open as it is (`RUN_DIR=/tmp`): what is put into it is
    closed by itself.

    Raises: OSError: it cannot be made, or is another user's.
    """
    if not path.exists() or not any(path.iterdir()) or any((path / name).is_file() for name in _OURS):
        private_directory(path)


def private_directory(path: Path) -> None:
    """Make a directory, or close one that is there to others. Raises: OSError: it cannot be so."""
    path.mkdir(mode=DIRECTORY, parents=True, exist_ok=True)
    if stat.S_IMODE(path.stat().st_mode) & UMASK:
        path.chmod(DIRECTORY)


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else could read at any moment, in place of one that is there."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with open(part, "x", opener=lambda name, flags: os.open(name, flags, FILE)) as file:
        file.write(text)
    part.replace(path)


def kept_password(path: Path) -> str:
    """The password in a file, made at random the first time."""
    if not path.exists():
        write_private(path, secrets.token_hex(16))
    return path.read_text().strip()
