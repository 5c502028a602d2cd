"""One run: a fleet, a load, the faults of a plan, quiet, and the verdict."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiokafka.errors import KafkaError

from bench.stage import HOST, NotReady, Stage, wait_ready
from bench.wire import AsyncConnection
from sinks.tables import TABLES
from streams.flows import PUBLIC, SIMPLE_FLOWS
from streams.settings import GROUP
from streams.topics import Topics
from tests.chaos import droplets, jobs, policies, recorded, relayed, resources, tasks
from tests.chaos.check import Finding, check
from tests.chaos.clients import HttpClient, create_clusters
from tests.chaos.droplets import DropletHistory, SeenDroplets
from tests.chaos.fleet import WEBS, Fleet
from tests.chaos.history import History
from tests.chaos.inject import inject
from tests.chaos.jobs import JobHistory, SeenJobs
from tests.chaos.native import OWNER, NativeClient, WaveringClient
from tests.chaos.observe import (
    Observed,
    observe_database,
    observe_tables,
    observe_topics,
    observe_web,
)
from tests.chaos.plan import Fault, Lane, Plan
from tests.chaos.policies import PolicyHistory
from tests.chaos.quiet import until_stored, until_worked_off
from tests.chaos.records import bad_records, bombed
from tests.chaos.resources import ResourceHistory, SeenResources

SHARED: Final = 4  # clusters that all clients write to
NATIVE: Final = 12  # clusters of the native client
WAVERING: Final = 4  # of the one with transactions
HOPS: Final = (
    5  # turns that follow from each other: a job's, a cluster's, its members', a droplet's, an address's
)
QUIET_WITHIN: Final = 90.0  # seconds
RESOURCES: Final = 3  # clients that write resources
DROPLETS: Final = 2  # clients that write droplets
JOBS: Final = 2  # clients that ask for jobs
POLICIES: Final = 1  # clients that write policies and limits
WARM_UP: Final = 3.0  # seconds of load before the first fault, and after the last
ANSWER_WITHIN: Final = 9.0  # seconds, beyond COMMAND_TIMEOUT
FEWEST: Final = 3  # operations that must have begun in the time of each fault
SHORTEST: Final = 5.0  # seconds; what a shorter fault does takes so long to be felt


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault as it was: from its first harm until everything it had harmed was well again."""

    fault: Fault
    began: float
    ended: float


@dataclass(slots=True)
class Outcome:
    """What came of a run. Times in seconds since the load began."""

    plan: Plan
    history: History
    observed: Observed
    findings: list[Finding]
    seconds: float
    injected: list[Injected] = field(default_factory=list)
    moments: list[tuple[float, str]] = field(default_factory=list)
    resources: ResourceHistory = field(default_factory=ResourceHistory)
    droplets: DropletHistory = field(default_factory=DropletHistory)
    jobs: JobHistory = field(default_factory=JobHistory)
    policies: PolicyHistory = field(default_factory=PolicyHistory)

    @property
    def void(self) -> str:
        """Why this counts as not run; empty if it counts."""
        if len(self.injected) < self.plan.count:
            return f"{len(self.injected)} of {self.plan.count} faults were injected"
        rate = len(self.history.entries) / self.seconds
        if rate < self.plan.floor:
            return f"{rate:.1f} operations a second, at least {self.plan.floor:.0f} make a run"
        for each in self.injected:
            if _begun(self.history, each) < FEWEST:
                return f"fewer than {FEWEST} operations began during {each.fault}"
        if unread := {*range(WEBS)} - self.resources.reads.keys():
            return f"no resource was read through web-{min(unread)}"
        return ""

    def count(self, kind: str) -> int:
        """Findings of one kind."""
        return sum(finding.kind == kind for finding in self.findings)

    def row(self) -> Sequence[object]:
        """A line of the table."""
        history, observed = self.history, self.observed
        return (
            self.plan.seed, len(self.injected), self.seconds, len(history.entries), history.count("applied"),
            history.count("rejected"), history.count("unknown"), history.longest_stall,
            observed.repeated_events, observed.repeated_results, observed.passed_over,
            self.count("lost"), self.count("doubled"), self.count("unanswered"), self.count("disordered"),
            self.count("wrong"), self.void or "counts",
        )  # fmt: skip


HEADER: Final = (
    "seed", "faults", "seconds", "operations", "applied", "refused", "open", "longest stall s",
    "events repeated", "results repeated", "passed over", "lost", "doubled",
    "unanswered", "disordered", "wrong", "verdict",
)  # fmt: skip


def _begun(history: History, injected: Injected) -> int:
    ended = max(injected.ended, injected.began + SHORTEST)
    return sum(injected.began <= entry.started <= ended for entry in history.entries)


async def run(fleet: Fleet, plan: Plan) -> Outcome:
    """One run on a fleet without roles. Raises: NotReady: the fleet does not even start."""
    webs, workers = fleet.of("web"), fleet.of("worker")[:2]
    others = [slot for role in ("sink", "executor", "recorder", "relay") for slot in fleet.of(role)]
    await fleet.start(*webs, *workers, *others)
    history, draws = History(), random.Random(plan.seed)
    outcome = Outcome(plan, history, Observed(), [], 0.0)
    doors = [(HOST, door.port) for door in fleet.doors]
    clients = [
        *await _clients(fleet, plan, history, draws),
        *resources.clients(RESOURCES, doors, outcome.resources, draws, per_second=plan.per_second),
        *droplets.clients(
            [_client(fleet, history, draws, f"droplets-{n}") for n in range(DROPLETS)],
            outcome.droplets,
            draws,
            per_second=plan.per_second,
        ),
        *jobs.clients(
            [_client(fleet, history, draws, f"jobs-{n}") for n in range(JOBS)], outcome.jobs, draws
        ),
        *policies.clients(
            [_client(fleet, history, draws, f"policies-{n}") for n in range(POLICIES)],
            outcome.policies,
            draws,
            per_second=plan.per_second,
        ),
    ]
    rows = relayed.RowHistory()
    writer = relayed.RowClient(fleet.stage.database_url, rows, random.Random(draws.random()))
    stop, start = asyncio.Event(), time.monotonic()
    async with asyncio.TaskGroup() as load:
        for client in (*clients, writer):
            load.create_task(client.run(stop))
        try:
            await asyncio.sleep(WARM_UP)
            await _inject_all(fleet, plan, outcome, draws)
            await asyncio.sleep(WARM_UP)
        finally:
            stop.set()
    outcome.seconds = time.monotonic() - start
    history.since(start)
    outcome.moments = [(at - start, what) for at, what in fleet.moments]
    outcome.injected = [Injected(i.fault, i.began - start, i.ended - start) for i in outcome.injected]
    await settle(fleet.stage, history, outcome.observed, end_workers=fleet.end_workers)
    seen = await seen_resources(fleet.stage)
    outcome.resources.others = {*rows.committed}
    servers, database_url = fleet.stage.bootstrap_servers, fleet.stage.database_url
    seen_tasks = await tasks.observe(servers, Topics())
    seen_records = await recorded.observe(servers, database_url, Topics())
    droplets_seen, jobs_seen = await seen_fleet(fleet.stage)
    async with _asked(fleet.stage) as asked:
        policies_seen = await policies.observe(servers, Topics(), asked)
    outcome.droplets.others = {*jobs.made_by(jobs_seen)}
    outcome.findings = [
        *check(history, outcome.observed, poison=_poison_of(plan), bombs=_bombs_of(plan)),
        *resources.check_resources(outcome.resources, seen),
        *tasks.check_tasks(seen, seen_tasks),
        *recorded.check_recorded(seen_records),
        *droplets.check_droplets(outcome.droplets, droplets_seen),
        *jobs.check_jobs(outcome.jobs, jobs_seen, droplets_seen),
        *policies.check_policies(outcome.policies, policies_seen),
        *relayed.check_rows(rows, await relayed.observe(database_url), seen),
    ]
    return outcome


async def seen_resources(stage: Stage, topics: Topics | None = None) -> SeenResources:
    """What topics and the web processes of a stage say of resources."""
    async with _asked(stage) as webs:
        return await resources.observe(stage.bootstrap_servers, topics or Topics(), webs)


async def seen_fleet(stage: Stage) -> tuple[SeenDroplets, SeenJobs]:
    """What topics and the web processes of a stage say of droplets and jobs."""
    servers, topics = stage.bootstrap_servers, Topics()
    async with _asked(stage) as webs:
        return await droplets.observe(servers, topics, webs), await jobs.observe(servers, topics, webs)


@asynccontextmanager
async def _asked(stage: Stage) -> AsyncIterator[Mapping[str, AsyncConnection]]:
    """A connection to each web process."""
    webs = {f"the web on port {web.port}": AsyncConnection(HOST, web.port) for web in stage.running("web")}
    try:
        yield webs
    finally:
        for connection in webs.values():
            connection.close()


async def _clients(
    fleet: Fleet, plan: Plan, history: History, draws: random.Random
) -> Sequence[HttpClient | NativeClient]:
    def client(name: str, per_second: float = 0.0, shared: Sequence[str] = (), web: int = 0) -> HttpClient:
        return _client(fleet, history, draws, name, per_second, shared, web)

    shared = await create_clusters(client("everyone"), SHARED)
    owned = await create_clusters(client(OWNER.partition("@")[0]), NATIVE + WAVERING)
    native = NativeClient(
        fleet.stage.bootstrap_servers,
        history,
        random.Random(draws.random()),
        shared,
        owned[:NATIVE],
        per_second=plan.native_per_second,
    )
    wavering = WaveringClient(
        fleet.stage.bootstrap_servers,
        history,
        random.Random(draws.random()),
        shared,
        owned[NATIVE:],
        per_second=plan.native_per_second / 4,
        name="wavering",
    )
    numbers = range(plan.clients)
    others = (client(f"client-{n}", plan.per_second, shared, n % len(fleet.doors)) for n in numbers)
    return [*others, native, wavering]


def _client(
    fleet: Fleet,
    history: History,
    draws: random.Random,
    name: str,
    per_second: float = 0.0,
    shared: Sequence[str] = (),
    web: int = 0,
) -> HttpClient:
    doors = [AsyncConnection(HOST, door.port, timeout=ANSWER_WITHIN) for door in fleet.doors]
    seed = random.Random(draws.random())
    return HttpClient(name, doors, history, seed, shared, per_second, web=web)


async def _inject_all(fleet: Fleet, plan: Plan, outcome: Outcome, draws: random.Random) -> None:
    async with asyncio.TaskGroup() as lanes:
        for lane in plan.faults:
            lanes.create_task(_inject_lane(fleet, plan, lane, outcome, random.Random(draws.random())))


async def _inject_lane(fleet: Fleet, plan: Plan, lane: Lane, outcome: Outcome, draws: random.Random) -> None:
    for fault in plan.faults[lane]:
        began = time.monotonic()
        try:
            await inject(fleet, fault)
        except (NotReady, TimeoutError) as error:
            outcome.observed.faults.append(f"after {fault} not well again: {error}")
        except (KafkaError, asyncio.CancelledError) as error:  # the other lane has taken Kafka away meanwhile
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            fleet.note(f"{fault} was cut short: {error!r}")
        outcome.injected.append(Injected(fault, began, time.monotonic()))
        await asyncio.sleep(draws.uniform(*plan.calm))


def _bombs_of(plan: Plan) -> int:
    poisoned = [fault for faults in plan.faults.values() for fault in faults if fault.kind == "poison"]
    return len(poisoned) * len(bombed(Topics()))


def _poison_of(plan: Plan) -> set[str]:
    return {
        record.key
        for faults in plan.faults.values()
        for fault in faults
        if fault.kind == "poison"
        for record in bad_records(random.Random(fault.seed), Topics())
    }


async def settle(
    stage: Stage,
    history: History,
    observed: Observed,
    topics: Topics | None = None,
    *,
    end_workers: Callable[[], Awaitable[None]],
) -> None:
    """Wait until everything is worked off, end the workers, and look at all there is to see.

    Workers that go on would publish ticks and reconcile events while we read.
    """
    topics, servers = topics or Topics(), stage.bootstrap_servers
    requests = (topics.create_requests, topics.name_requests)
    kinds = tuple(topics.of(flow.commands) for flow in SIMPLE_FLOWS)
    inputs = (*requests, topics.commands, topics.accepted_commands, topics.reports, *kinds)
    await relayed.until_relayed(stage)
    await tasks.until_ended(stage)
    await jobs.until_ended(stage)
    await droplets.until_settled(stage)
    await _worked_off(stage, topics, inputs, observed)
    ids = await _known(stage, history, topics)
    webs = stage.running("web")
    await observe_tables(HOST, webs[0].port, ids, observed)
    for _ in range(HOPS):
        await _worked_off(stage, topics, inputs, observed)
    await end_workers()
    outputs = [topics.state, topics.events, *(topics.of(table.flow.state) for table in TABLES)]
    if stage.running("recorder"):
        outputs += map(topics.of, PUBLIC)
    for left in await until_stored(servers, stage.database_url, topics=outputs, within=QUIET_WITHIN):
        observed.faults.append(f"PostgreSQL does not have {left}")
    await observe_topics(servers, topics, observed)
    await observe_database(stage.database_url, observed)
    await _verify(stage, observed)
    fresh = await asyncio.to_thread(stage.start, "web")
    await asyncio.to_thread(wait_ready, fresh)
    for web in (*webs, fresh):
        name = "a fresh web" if web is fresh else f"the web on port {web.port}"
        await observe_web(name, HOST, web.port, ids, observed)


async def _verify(stage: Stage, observed: Observed) -> None:
    """Let the product compare every column of PostgreSQL, too."""
    try:
        await asyncio.to_thread(stage.run, "verify")
    except NotReady as difference:
        observed.faults.append(str(difference))


async def _worked_off(stage: Stage, topics: Topics, inputs: Sequence[str], observed: Observed) -> None:
    group = topics.prefix + GROUP
    left = await until_worked_off(stage.bootstrap_servers, group=group, topics=inputs, within=QUIET_WITHIN)
    observed.faults += [f"the agents have not committed {partition}" for partition in left]


async def _known(stage: Stage, history: History, topics: Topics) -> list[str]:
    """The ids of all clusters that anybody knows of."""
    seen = Observed()
    await observe_topics(stage.bootstrap_servers, topics, seen)
    return sorted(
        {attempt.cluster_id for attempt in history.attempts if attempt.cluster_id} | seen.states.keys()
    )


def describe(outcome: Outcome) -> str:
    """Moments, what was left out, and each kind of finding with its first examples."""
    lines = [f"  {at:6.1f} s  {what}" for at, what in sorted(outcome.moments)]
    if outcome.plan.left_out:
        lines.append(f"  not to be had on this machine: {', '.join(outcome.plan.left_out)}")
    if outcome.void:
        lines.append(f"  counts as not run: {outcome.void}")
    for kind, count in Counter(finding.kind for finding in outcome.findings).items():
        lines.append(f"  {kind}: {count}")
        examples = [finding.text for finding in outcome.findings if finding.kind == kind]
        lines += [f"    {text[:600]}" for text in examples[:5]]
    return "\n".join(lines)


def keep(outcome: Outcome, fleet: Fleet, directory: Path) -> None:
    """Keep a history that failed, with what was found in it and the logs of the roles."""
    outcome.history.keep(directory / "history.jsonl")
    findings = [f"{finding.kind}: {finding.text}\n" for finding in outcome.findings]
    (directory / "findings.txt").write_text(describe(outcome) + "\n\n" + "".join(findings))
    for role in fleet.stage.roles:
        (directory / role.log.name).write_bytes(role.log.read_bytes())
