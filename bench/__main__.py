"""`python -m bench`: every question's command, one after the other, and one table of all answers at the end.

A command that fails is named in the table and makes the status 1; an answer that misses what it should reach
does not, since that depends on the machine. The gate against getting slower is `bench.quick`.
"""

import argparse
import json
import subprocess
import sys
import time
from typing import Final

from bench.figures import ANSWERS, RESULTS, Answer, table
from bench.stage import REPOSITORY

COMMANDS: Final = (
    "reads",
    "roundtrip",
    "throughput",
    "together",
    "worker",
    "mechanism",
    "events",
    "resources",
    "droplets",
    "limits",
    "samples",
    "tasks",
    "ended",
    "relay",
    "reconcile",
    "sink",
    "recorder",
    "memory",
    "scale",
    "startup",
    "processes",
)
WITHIN: Final = 300.0  # seconds for one command; all of them take 15 minutes at most


def kept_answers(command: str) -> list[Answer]:
    """What a command found when it last ran; nothing if it never did."""
    path = RESULTS / f"{command}.json"
    if not path.exists():
        return []
    return [Answer(**answer) for answer in json.loads(path.read_text())["answers"]]


def ran(command: str) -> bool:
    """Run a command; what it prints is shown as it comes."""
    print(f"\n== {command}", flush=True)
    started = time.monotonic()
    (RESULTS / f"{command}.json").unlink(missing_ok=True)
    try:
        done = subprocess.run(
            [sys.executable, "-m", f"bench.{command}"], cwd=REPOSITORY, check=False, timeout=WITHIN
        )
        succeeded = done.returncode == 0
    except subprocess.TimeoutExpired:
        succeeded = False
    print(f"{'took' if succeeded else 'FAILED after'} {time.monotonic() - started:.0f} s", flush=True)
    return succeeded


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commands", nargs="*", default=COMMANDS, help=f"of {', '.join(COMMANDS)}")
    parser.add_argument("--table", action="store_true", help="run nothing; show what was found last")
    given = parser.parse_args()
    failed = [] if given.table else [command for command in given.commands if not ran(command)]
    rows = [answer.row() for command in given.commands for answer in kept_answers(command)]
    if given.table and not rows:
        raise SystemExit("nothing is kept in this directory: run `make bench`, or one of the commands, first")
    rows += [(f"`bench.{command}` failed", "", "", "", "", "NO") for command in failed]
    print("\n" + table(ANSWERS, rows))
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
