"""`python -m bench.tasks`: tasks through one executor, beside Celery, and beside what waiting handlers allow.

A burst is queued while the executor stands still, then let go, and over when the end of every task is
announced. Ours are durable, in order for each resource, and ended once; Celery's worker
(`bench/celery_peer.py`) is one process that acknowledges late and keeps results, on Valkey. Where each
handler waits 100 ms and 50 run at a time, 500 a second are possible.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Final

import redis

from bench.bursts import DRAINED_WITHIN, LOOK, Drained, metric, publish, stopped, until_counted, until_ended
from bench.environments import python_with
from bench.figures import Answer, median_ratio, tell
from bench.filled import PARTITIONS
from bench.peer import Peer
from bench.stage import RoleProcess, Stage, wait_ready
from bench.usage import usage
from bench.worker import cpu_micros, turns_of
from deploy.embedded import Stack
from domain.ids import deterministic_id
from domain.policy import Policy
from domain.task import Create
from streams.settings import KafkaSettings
from streams.task import task_flow
from streams.writing.outputs import Output

LOCK: Final = Path(__file__).with_name("celery.lock")
FLOW: Final = task_flow(Policy())
COMPLETED: Final = "task.completed"
WAITS: Final = 0.1  # seconds of a handler that waits
AT_A_TIME: Final = 50


def creates(first: int, count: int) -> list[Output]:
    """Return commands that create `count` tasks, each for a resource of its own."""
    return [
        FLOW.command(
            Create(
                id=deterministic_id("bench-task", number),
                command_id=deterministic_id("bench-task-command", number),
                resource_id=f"r-{number}",
                action="resize",
            ),
            {},
        )
        for number in range(first, first + count)
    ]


def drained(
    kafka: KafkaSettings, worker: RoleProcess, executor: RoleProcess, *, before: int, count: int
) -> Drained:
    """One burst through an executor; `before`: how many tasks there were."""
    with stopped(executor.pid):
        queued = metric(worker, turns_of("task")) + count
        asyncio.run(publish(kafka, creates(before, count)))
        until_counted(worker, turns_of("task"), queued)
        cpu, started = usage(executor.pid).cpu_seconds, time.monotonic()
    ended = until_ended(kafka, COMPLETED, before + count)
    return Drained(count, ended - started, usage(executor.pid).cpu_seconds - cpu)


def through_executor(directory: Path, given: argparse.Namespace, **environment: str) -> list[Drained]:
    """Bursts through one executor; the first warms up and does not count."""
    settings = {"KAFKA_PARTITIONS": str(PARTITIONS), **environment}
    found = []
    with Stage(directory, settings) as stage:
        worker, executor = stage.start("worker"), stage.start("executor")
        wait_ready(worker, executor)
        kafka = KafkaSettings(bootstrap_servers=stage.bootstrap_servers, partitions=PARTITIONS, replication=1)
        for burst in range(given.bursts + 1):
            found.append(drained(kafka, worker, executor, before=burst * given.count, count=given.count))
    return found[1:]


def through_celery(directory: Path, given: argparse.Namespace) -> list[Drained]:
    """The same through Celery."""
    python, stack, found = python_with(LOCK), Stack(directory), []
    stack.start(["valkey"])
    try:
        results = redis.Redis.from_url(stack.valkey.url)
        with Peer("bench.celery_peer", stack.valkey.url, python=python) as peer:
            pid = int(peer.introduced[0])
            for _ in range(given.bursts + 1):
                wanted = _kept(results) + given.count
                with stopped(pid):
                    peer.tell(str(given.count))
                    peer.wait_for("queued", within=DRAINED_WITHIN)
                    cpu, started = usage(pid).cpu_seconds, time.monotonic()
                while _kept(results) < wanted:
                    time.sleep(LOOK)
                seconds = time.monotonic() - started
                found.append(Drained(given.count, seconds, usage(pid).cpu_seconds - cpu))
    finally:
        stack.stop()
    return found[1:]


def _kept(results: redis.Redis) -> int:
    """How many results there are; beside them only a few keys that stay, once the queue is empty."""
    return int(results.dbsize())


def answers(ours: Sequence[Drained], celery: Sequence[Drained], waiting: Sequence[Drained]) -> list[Answer]:
    """What is asked of tasks."""
    rate, cpu = median(one.per_second for one in ours), cpu_micros(ours)
    question = "tasks through one executor"
    possible = AT_A_TIME / WAITS
    return [
        Answer(question, f"{rate:,.0f}/s, {cpu:.0f} µs of processor each", "", rate, least=500, unit="/s"),
        Answer(
            f"{question}, beside Celery",
            f"{rate:,.0f}/s",
            f"Celery {median(one.per_second for one in celery):,.0f}/s, {cpu_micros(celery):.0f} µs each",
            median_ratio([one.per_second for one in ours], [one.per_second for one in celery]),
            least=0.5,
        ),
        Answer(
            f"handlers that wait {WAITS * 1000:.0f} ms, {AT_A_TIME} at a time",
            f"{median(one.per_second for one in waiting):,.0f}/s",
            f"possible {possible:,.0f}/s",
            median(one.per_second for one in waiting) / possible,
            least=0.95,
        ),
    ]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="tasks of a burst (default: 5000)")
    parser.add_argument("--bursts", type=int, default=3)
    given = parser.parse_args()
    waits = {"EXECUTOR_TASKS": str(AT_A_TIME), "TASK_SIMULATED_WORK_MS": f"{WAITS * 1000:.0f}"}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        figures = {
            "ours": through_executor(Path(directory, "ours"), given),
            "celery": through_celery(Path(directory, "celery"), given),
            "waiting": through_executor(Path(directory, "waiting"), given, **waits),
        }
    kept = {name: list(map(asdict, each)) for name, each in figures.items()}
    tell("tasks", answers(figures["ours"], figures["celery"], figures["waiting"]), figures=kept)


if __name__ == "__main__":
    main()
