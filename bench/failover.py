"""`python -m bench.failover`: nothing lost, nothing doubled, while a worker joins and another is killed.

A run: web, worker and sink on fresh servers; clients that write at random over HTTP and Kafka; after a
quarter of the time a second worker joins, at half time the first is killed with -9. Once all is quiet,
`bench.observe` reads every topic, answer and row, and `bench.check` compares them with what the clients were
told. A history that fails is kept beside the logs in `.run/bench/failover/`.
"""

import argparse
import asyncio
import logging
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import uvloop

from bench.check import Finding, check
from bench.clients import HttpClient, NativeClient, create_shared
from bench.figures import RESULTS, save, table
from bench.history import History
from bench.observe import (
    Observed,
    observe_database,
    observe_topics,
    observe_web,
    until_stored,
    until_worked_off,
)
from bench.stage import HOST, RoleProcess, Stage, wait_ready
from bench.wire import AsyncConnection
from streams.settings import GROUP
from streams.topics import Topics

SHARED_CLUSTERS: Final = 4
QUIET_WITHIN: Final = 60.0  # seconds
RESTART_AFTER: Final = 0.5  # seconds

Fault = Literal["kill", "pause", "broker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run.

    Attributes:
        clients: HTTP clients, each with one request at a time.
        seconds: For which they write.
        fault: What happens at half time: `kill`, SIGKILL to the first worker; `pause`, SIGSTOP to it for
            longer than its session and then SIGCONT, after which it does not know yet that it has been
            replaced; `broker`, SIGKILL to Kafka, which is started again on its data.
        pause: Seconds of the last two.
    """

    clients: int = 16
    native_per_second: float = 50.0
    seconds: float = 60.0
    seed: int = 1
    fault: Fault = "kill"
    pause: float = 9.0


@dataclass(slots=True)
class Outcome:
    """What came of a run."""

    history: History
    observed: Observed
    findings: list[Finding]
    moments: dict[str, float] = field(default_factory=dict)

    def count(self, kind: str) -> int:
        """Findings of one kind."""
        return sum(finding.kind == kind for finding in self.findings)

    def row(self, number: int) -> Sequence[object]:
        """A line of the table."""
        history, observed = self.history, self.observed
        return (
            number, len(history.attempts), history.count("applied"), history.count("rejected"),
            history.count("unknown"), history.longest_stall, observed.repeated_events,
            observed.repeated_results, self.count("lost"), self.count("doubled"), self.count("unanswered"),
            self.count("wrong"),
        )  # fmt: skip


HEADER: Final = (
    "run", "commands", "applied", "refused", "open", "longest stall s", "events repeated",
    "results repeated", "lost", "doubled", "unanswered", "wrong",
)  # fmt: skip


async def run(stage: Stage, plan: Plan, *, topics: Topics) -> Outcome:
    """One run on a stage without roles."""
    web, worker, sink = [await asyncio.to_thread(stage.start, name) for name in ("web", "worker", "sink")]
    await asyncio.to_thread(wait_ready, web, worker, sink)
    history = History()
    moments: dict[str, float] = {}
    connection = AsyncConnection(HOST, web.port)
    shared = await create_shared(connection, history, count=SHARED_CLUSTERS)
    connection.close()
    start = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        supervisor = tasks.create_task(_supervise(stage, start, moments))
        writing = [
            tasks.create_task(client.run(start + plan.seconds))
            for client in _clients(stage, web, plan, history, shared, topics)
        ]
        await _faults(stage, worker, plan, start, moments)
        await asyncio.gather(*writing)
        supervisor.cancel()
    for attempt in history.attempts:
        attempt.started, attempt.ended = attempt.started - start, attempt.ended - start
    observed = await settle(stage, history, topics)
    return Outcome(history, observed, check(history, observed), moments)


def _clients(
    stage: Stage, web: RoleProcess, plan: Plan, history: History, shared: list[str], topics: Topics
) -> list[HttpClient | NativeClient]:
    seeds = random.Random(plan.seed)
    clients: list[HttpClient | NativeClient] = [
        HttpClient(
            f"client-{number}",
            AsyncConnection(HOST, web.port),
            history,
            random.Random(seeds.random()),
            shared,
        )
        for number in range(plan.clients)
    ]
    native = NativeClient(
        stage.bootstrap_servers,
        topics,
        history,
        random.Random(seeds.random()),
        shared,
        per_second=plan.native_per_second,
    )
    return [*clients, native]


async def _faults(
    stage: Stage, first: RoleProcess, plan: Plan, start: float, moments: dict[str, float]
) -> None:
    """A second worker joins at a quarter of the time; half-way something happens to the first."""
    await asyncio.sleep(plan.seconds / 4)
    second = await asyncio.to_thread(stage.start, "worker")
    moments["second worker starts"] = time.monotonic() - start
    await asyncio.to_thread(wait_ready, second)
    moments["second worker ready"] = time.monotonic() - start
    await asyncio.sleep(max(0.0, start + plan.seconds / 2 - time.monotonic()))
    moments[plan.fault] = time.monotonic() - start
    match plan.fault:
        case "kill":
            await asyncio.to_thread(first.kill)
        case "pause":
            first.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(plan.pause)
            first.process.send_signal(signal.SIGCONT)
        case "broker":
            await asyncio.to_thread(stage.kafka.kill)
            await asyncio.sleep(plan.pause)
            await asyncio.to_thread(stage.kafka.start)


async def _supervise(stage: Stage, start: float, moments: dict[str, float]) -> None:
    """Start again what has ended by itself, as any supervisor does; who was killed stays away."""
    replaced = 0
    while True:
        await asyncio.sleep(RESTART_AFTER)
        for role in list(stage.roles):
            if role.ended() and not role.replaced:
                role.replaced = True
                replaced += 1
                moments[f"{role.name} ended by itself, restart {replaced}"] = time.monotonic() - start
                await asyncio.to_thread(stage.start, role.name, port=role.port)


async def settle(stage: Stage, history: History, topics: Topics) -> Observed:
    """Wait until everything is worked off, end the workers, and look at all there is to see."""
    observed = Observed()
    servers = stage.bootstrap_servers
    inputs = (topics.create_requests, topics.commands, topics.reports)
    for left in await until_worked_off(
        servers, group=topics.prefix + GROUP, topics=inputs, within=QUIET_WITHIN
    ):
        observed.faults.append(f"the agents have not committed {left}")
    for role in stage.running("worker"):  # or ticks would go on publishing while we read
        await asyncio.to_thread(role.stop)
    outputs = (topics.state, topics.events)
    for left in await until_stored(servers, stage.database_url, topics=outputs, within=QUIET_WITHIN):
        observed.faults.append(f"the sink has not stored {left}")
    await observe_topics(servers, topics, observed)
    await observe_database(stage.database_url, observed)
    known = [("old web", web) for web in stage.running("web")]
    fresh = await asyncio.to_thread(stage.start, "web")
    await asyncio.to_thread(wait_ready, fresh)
    ids = {attempt.cluster_id for attempt in history.attempts if attempt.cluster_id} | observed.states.keys()
    for name, role in (*known, ("fresh web", fresh)):
        await observe_web(name, HOST, role.port, sorted(ids), observed)
    return observed


def describe(outcome: Outcome) -> str:
    """Moments, and each kind of finding with its first examples."""
    lines = [f"  {moment}: {at:.1f} s" for moment, at in outcome.moments.items()]
    for kind, count in Counter(finding.kind for finding in outcome.findings).items():
        lines.append(f"  {kind}: {count}")
        examples = [finding.text for finding in outcome.findings if finding.kind == kind]
        lines += [f"    {text[:600]}" for text in examples[:5]]
    return "\n".join(lines)


async def runs(plan: Plan, count: int) -> bool:
    """All runs, each on servers of its own; whether all went well."""
    lines = []
    well = True
    for number in range(1, count + 1):
        async with AsyncExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="failover-"))
            stage = Stage(Path(directory))
            await asyncio.to_thread(stage.__enter__)
            stack.push_async_callback(asyncio.to_thread, stage.stop)
            outcome = await run(stage, plan, topics=Topics())
            if outcome.findings:
                well = False
                _keep(stage, outcome, RESULTS / "failover" / f"{time.strftime('%Y%m%d-%H%M%S')}-{number}")
        lines.append(outcome.row(number))
        print(table(HEADER, lines[-1:]), describe(outcome), sep="\n", flush=True)
    print(table(HEADER, lines))
    save("failover", {"plan": plan, "header": HEADER, "runs": lines})
    return well


def _keep(stage: Stage, outcome: Outcome, directory: Path) -> None:
    outcome.history.keep(directory / "history.jsonl")
    (directory / "findings.txt").write_text("\n".join(f"{f.kind}: {f.text}" for f in outcome.findings) + "\n")
    for role in stage.roles:
        (directory / role.log.name).write_bytes(role.log.read_bytes())
    print(f"kept in {directory}", flush=True)


def main() -> None:
    """Run and print; exits 1 if anything was lost, doubled, wrong or unanswered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=9.0, help="seconds of the faults pause and broker")
    parser.add_argument("--fault", choices=("kill", "pause", "broker"), default="kill")
    arguments = parser.parse_args()
    logging.disable(logging.ERROR)  # aiokafka reports each attempt to reach a broker that was killed
    plan = Plan(
        clients=arguments.clients,
        seconds=arguments.seconds,
        seed=arguments.seed,
        fault=arguments.fault,
        pause=arguments.pause,
    )
    sys.exit(0 if uvloop.run(runs(plan, arguments.runs)) else 1)


if __name__ == "__main__":
    main()
