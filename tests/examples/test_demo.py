"""The whole demo as `make demo` runs it, with few clusters: everything real, one worker killed."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
DEADLINE = 120  # seconds, the demo's own
STOPPING = 60  # seconds on top of it


@pytest.mark.timeout(DEADLINE + STOPPING + 10)
def test_demo_ends_with_postgres_and_api_agreeing_and_leaves_nothing_running(tmp_path: Path) -> None:
    data_dir = tmp_path / "demo"
    command = [sys.executable, "-m", "examples.demo", "--clusters", "6", "--data-dir", str(data_dir)]
    demo = subprocess.run(
        [*command, "--deadline", str(DEADLINE)],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=DEADLINE + STOPPING,
        check=False,
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "kill -9" in demo.stdout
    assert "on purpose: aws-network fails for demo-aws-02" in demo.stdout
    assert "aws-network is done with demo-aws-02 after" in demo.stdout
    assert "Kafka answers" in demo.stdout, "what is done while one waits"
    assert "PostgreSQL and the API agree: 6 clusters (6 Ready), 12 reports" in demo.stdout
    assert "3 droplets by as many jobs, one more turned away by its limit (429)" in demo.stdout
    assert "telemetry by Kafka: cpu is 95 %, above 80 %; diagnosed as warning" in demo.stdout
    assert "a policy made demo-aws-01 larger: 4 droplets, and no more" in demo.stdout
    assert "API, PostgreSQL and events agree: 4 droplets, 3 jobs" in demo.stdout
    assert _running_on(data_dir) == []


def _running_on(data_dir: Path) -> list[str]:
    """Command lines of processes whose environment or arguments name the data directory."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:  # it ended while we looked, or isn't ours
            continue
        if process.pid != os.getpid() and any(str(data_dir) in word for word in words):
            found.append(" ".join(process.cmdline()))
    return found
