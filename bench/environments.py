"""Environments of peers that live beside ours, since no role may depend on what they need."""

import subprocess
import venv
from pathlib import Path

from bench.figures import RESULTS


def python_with(lock: Path) -> Path:
    """The Python of an environment that has what a lock file names, made when it is missing.

    Raises: CalledProcessError: its packages cannot be had.
    """
    directory = RESULTS / lock.stem
    python, made = directory / "bin" / "python", directory / ".installed"
    if not made.exists() or made.read_text() != lock.read_text():
        print(f"installing {lock.stem} into an environment of its own (once)", flush=True)
        venv.create(directory, with_pip=True, clear=True)
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "--no-deps", "--require-hashes", "-r", lock], check=True
        )
        made.write_text(lock.read_text())
    return python
