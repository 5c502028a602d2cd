"""deploy/install.sh, with a Python that only pretends: what it says while one waits."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "install.sh"
PRETENDING = """#!/bin/sh
case "$*" in
    "--version") echo "Python 3.11.0" ;;
    "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *pip*--require-hashes*) echo "Collecting something"; {installing} ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """As much of a clone as the script looks at."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(SCRIPT, tmp_path / "deploy")
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    return tmp_path


def install(clone: Path, installing: str) -> subprocess.CompletedProcess[str]:
    python = clone / "python"
    python.write_text(PRETENDING.format(installing=installing))
    python.chmod(0o755)
    return subprocess.run(
        [str(clone / "deploy" / "install.sh")],
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(python)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_who_waits_is_told_what_is_done(clone: Path) -> None:
    done = install(clone, "sleep 6")
    assert 0 == done.returncode, done.stderr
    assert re.search(r"^  … 5 s: Collecting something$", done.stderr, re.MULTILINE)
    assert "" == install(clone, "exit 1").stderr, "once is enough"


def test_what_fails_is_shown_at_once(clone: Path) -> None:
    done = install(clone, "echo no such package; exit 1")
    assert 1 == done.returncode
    assert "Collecting something\nno such package\nFailed: .venv/bin/python -m pip" in done.stderr
