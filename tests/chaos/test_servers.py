"""What the machine gives faults: a disk that is full on demand, and a clock that can be stepped."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.servers import Clock, Disk

CLOCKS = "import time, datetime as d; print(time.time(), d.datetime.now().timestamp(), time.monotonic())"


@pytest.mark.parametrize("seconds", [90, -90, 0])
def test_a_process_lives_by_the_stepped_clock_and_its_monotonic_clock_stays_true(
    tmp_path: Path, seconds: int
) -> None:
    clock = Clock(tmp_path)
    if not clock.build():
        pytest.skip("there is no C compiler")
    clock.step(seconds)

    done = subprocess.run(
        [sys.executable, "-c", CLOCKS],
        env={**os.environ, **clock.environment()},
        capture_output=True,
        check=True,
        text=True,
    )

    wall, date, monotonic = map(float, done.stdout.split())
    assert wall - time.time() == pytest.approx(seconds, abs=5)
    assert date - time.time() == pytest.approx(seconds, abs=5)
    assert monotonic == pytest.approx(time.monotonic(), abs=5)


def test_a_clock_is_stepped_while_a_process_runs(tmp_path: Path) -> None:
    clock = Clock(tmp_path)
    if not clock.build():
        pytest.skip("there is no C compiler")
    ask = "import sys, time\nfor line in sys.stdin: print(time.time(), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", ask],
        env={**os.environ, **clock.environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        ahead = []
        for seconds in (0, 60, -60):
            clock.step(seconds)
            process.stdin.write("now\n")
            process.stdin.flush()
            ahead.append(float(process.stdout.readline()) - time.time())
        process.stdin.close()

    assert ahead == pytest.approx([0, 60, -60], abs=5)


def test_a_full_disk_takes_nothing_until_it_is_freed(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk")
    if not disk.mount():
        pytest.skip("this machine does not let us mount")
    try:
        (disk.directory / "before").write_bytes(bytes(1_000_000))
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (disk.directory / "more").write_bytes(bytes(1_000_000))
        disk.free()
        (disk.directory / "more").write_bytes(bytes(1_000_000))
    finally:
        disk.unmount()
