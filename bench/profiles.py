"""`python -m bench.profiles`: the load profiles of the contract (resources contract, section 11).

    a   up to 100 users for 4.5 minutes, each of whom creates a resource, gets it, lists, makes it `inactive`,
        deletes it in one of five cases, and asks for the health
    b   up to 200 users for 5 minutes, each of whom creates five at once, and in three of ten cases one more,
        which is updated and deleted

The number of users grows in the first third. The contract says nothing of pauses: here each user thinks for a
second after a round, as such scripts do, unless `--pause` says otherwise. Every change starts a task. The
settings are those of `clusterflow all`. The contract allows a p95 of 500 ms and 1 s; a tenth of that is asked
here as well. When the load has ended, all tasks must be done, and their rows and events stored, within a
minute.
"""

import argparse
import asyncio
import math
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench.bursts import metric
from bench.figures import Answer, percentile, tell
from bench.stage import HOST, RoleProcess, Stage, give_way, wait_ready
from bench.usage import usage
from bench.wire import AsyncConnection, request_bytes
from cli.development import YIELDING
from cli.embedded import PARTITIONS

PATH: Final = "/api/v1/resources"
NOBODY: Final = "user@example.com"
TENTH: Final = 0.1  # of the p95 that the contract allows
GROWS: Final = 1 / 3  # of the time in which users join
ROLES: Final = ("worker", "web", "grpc", "executor", "relay", "sink", "recorder")
LAG: Final = "clusterflow_sink_lag_records"
LAG_WITHIN: Final = 60.0  # seconds

# Each change of a resource starts a task, and both are announced: one event of the resource, two of the task.
EVENTS: Final = 3
ENDED: Final = "SELECT count(*) FROM tasks WHERE status IN ('completed', 'failed')"
RECORDED: Final = "SELECT count(*) FROM processed_events"


@dataclass(slots=True)
class Seen:
    """What users have seen.

    Attributes:
        seconds: Of each answer, by step.
        failed: Requests by step that had another answer than the expected one, or none.
        unanswered: Those among them that had none.
        checks, unkept: Looks at answers, and those that did not find what was expected.
        created, changes: Resources, and writes of any kind that were acknowledged.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    checks: int = 0
    unkept: int = 0
    created: int = 0
    changes: int = 0

    def check(self, kept: bool) -> None:
        """Count a check."""
        self.checks += 1
        self.unkept += not kept


class User:
    """One user, with connections of its own."""

    def __init__(self, port: int, seen: Seen, draws: random.Random) -> None:
        self._port = port
        self._seen = seen
        self._idle: list[AsyncConnection] = []
        self.draws = draws

    async def ask(self, step: str, status: int, method: str, path: str, body: Any = None) -> Any:
        """Send a request; return the JSON of the expected answer, None for any other."""
        connection = self._idle.pop() if self._idle else AsyncConnection(HOST, self._port, timeout=30.0)
        started = time.perf_counter()
        try:
            answer = await connection.exchange(request_bytes(method, path, email=NOBODY, body=body))
        except (OSError, EOFError, TimeoutError):
            self._seen.failed[step] += 1
            self._seen.unanswered += 1
            return None
        self._seen.seconds[step].append(time.perf_counter() - started)
        self._idle.append(connection)
        if answer.status != status:
            self._seen.failed[step] += 1
            return None
        self._seen.changes += method != "GET"
        return answer.json() if answer.body else {}

    async def create(self) -> str | None:
        """Create a resource; return its id."""
        made = await self.ask("POST", 201, "POST", PATH, {"name": f"n{self.draws.random()}"})
        if made is None:
            return None
        self._seen.created += 1
        return str(made["id"])

    async def update(self, id: str) -> None:
        """Make a resource `inactive`."""
        body = {"name": "changed", "status": "inactive"}
        changed = await self.ask("PUT", 200, "PUT", f"{PATH}/{id}", body)
        self._seen.check(changed is not None and changed["status"] == "inactive")

    async def delete(self, id: str) -> None:
        """Delete a resource."""
        await self.ask("DELETE", 204, "DELETE", f"{PATH}/{id}")

    def close(self) -> None:
        """Close its connections."""
        for connection in self._idle:
            connection.close()


async def round_a(user: User, seen: Seen) -> None:
    """One round of profile A."""
    if (id := await user.create()) is None:
        return
    found = await user.ask("GET", 200, "GET", f"{PATH}/{id}")
    seen.check(found is not None and found["id"] == id)
    seen.check(bool(await user.ask("list", 200, "GET", PATH)))
    await user.update(id)
    if user.draws.random() < 0.2:
        await user.delete(id)
    await user.ask("health", 200, "GET", "/health")


async def round_b(user: User, seen: Seen) -> None:
    """One round of profile B."""
    await asyncio.gather(*(user.create() for _ in range(5)))
    if user.draws.random() < 0.3 and (id := await user.create()) is not None:
        await user.update(id)
        await user.delete(id)


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile.

    Attributes:
        p95: Milliseconds that the contract allows.
        created: Resources that are asked for; None for any number.
    """

    users: int
    seconds: float
    round: Callable[[User, Seen], Awaitable[None]]
    p95: float
    created: int | None = None


PROFILES: Final = {"a": Profile(100, 270.0, round_a, 500.0), "b": Profile(200, 300.0, round_b, 1000.0, 1000)}


async def loaded(profile: Profile, port: int, given: argparse.Namespace) -> Seen:
    """Have users come and go."""
    seen, draws = Seen(), random.Random(given.seed)
    seconds = given.seconds or profile.seconds
    ends = time.monotonic() + seconds

    async def one(number: int) -> None:
        user = User(port, seen, random.Random(draws.random()))
        await asyncio.sleep(seconds * GROWS * number / profile.users)
        while time.monotonic() < ends:
            await profile.round(user, seen)
            await asyncio.sleep(max(0.0, min(given.pause, ends - time.monotonic())))
        user.close()

    async with asyncio.TaskGroup() as group:
        for number in range(profile.users):
            group.create_task(one(number))
    return seen


async def until_stored(stage: Stage, roles: dict[str, RoleProcess], changes: int) -> float:
    """Seconds until the tasks of all changes have ended, and all is stored; at most twice what is allowed.

    Roles look at their own lag every two seconds, so it can come out longer by that.
    """
    started = time.monotonic()
    connection = await asyncpg.connect(stage.database_url)
    try:
        while (took := time.monotonic() - started) < 2 * LAG_WITHIN:
            ended, recorded = [await connection.fetchval(count) for count in (ENDED, RECORDED)]
            lags = [await asyncio.to_thread(metric, roles[name], LAG) for name in ("sink", "recorder")]
            if ended >= changes and recorded >= EVENTS * changes and not any(lags):
                break
            await asyncio.sleep(0.25)
        return took
    finally:
        await connection.close()


def answers(name: str, profile: Profile, seen: Seen, lag: float, cpu: dict[str, float]) -> list[Answer]:
    """What is asked of a profile."""
    times = [second for each in seen.seconds.values() for second in each]
    requests, failed = len(times) + seen.unanswered, sum(seen.failed.values())
    p95, unkept = _p(times, 0.95), seen.unkept / max(1, seen.checks) * 100
    costs = ", ".join(f"{role} {seconds / requests * 1e6:.0f}" for role, seconds in cpu.items())

    def answer(about: str, measured: str, value: float, unit: str, **bounds: float | None) -> Answer:
        return Answer(
            f"profile {name.upper()}, {profile.users} users: {about}",
            measured,
            "",
            value,
            **bounds,
            unit=unit,
        )

    return [
        answer(f"p95 of {requests:,} requests", _spread(times), p95, "ms", most=profile.p95 * TENTH),
        answer("p95, as the contract has it", "", p95, "ms", most=profile.p95),
        *(
            answer(f"{step}, p95", _spread(each), _p(each, 0.95), "ms")
            for step, each in sorted(seen.seconds.items())
        ),
        answer("failed", f"{failed:,}", failed / requests * 100, "%", most=5),
        answer("checks that failed", f"{seen.unkept:,} of {seen.checks:,}", unkept, "%", most=10),
        answer("created", f"{seen.created:,}", seen.created, "resources", least=profile.created),
        answer("until all is stored", f"{seen.changes:,} changes", lag, "s", most=LAG_WITHIN),
        answer("processor time of a request", costs, sum(cpu.values()) / requests * 1e6, "µs"),
    ]


def _p(seconds: Sequence[float], rank: float) -> float:
    """A percentile in milliseconds, endless where nothing was answered."""
    return percentile(sorted(seconds), rank) * 1000 if seconds else math.inf


def _spread(seconds: Sequence[float]) -> str:
    return f"p50 {_p(seconds, 0.5):.1f}, p99 {_p(seconds, 0.99):.1f} ms"


def taken(name: str, given: argparse.Namespace, directory: Path) -> list[Answer]:
    """Run a profile on a stage of its own."""
    profile = PROFILES[name]
    with Stage(directory, {"KAFKA_PARTITIONS": str(PARTITIONS)}) as stage:
        roles = {role: stage.start(role) for role in ROLES}
        give_way(roles, YIELDING)
        wait_ready(*roles.values())
        before = {role: usage(process.pid).cpu_seconds for role, process in roles.items()}
        seen = asyncio.run(loaded(profile, roles["web"].port, given))
        lag = asyncio.run(until_stored(stage, roles, seen.changes))
        cpu = {role: usage(process.pid).cpu_seconds - before[role] for role, process in roles.items()}
    return answers(name, profile, seen, lag, cpu)


def main() -> None:
    """Run and print; status 1 if a bound is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profiles", nargs="*", choices=[*PROFILES, []], help="which of them (default: both)")
    parser.add_argument("--seconds", type=float, help="shorter than the contract has it")
    parser.add_argument(
        "--pause", type=float, default=1.0, help="seconds of a user after a round (default: 1)"
    )
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        for name in given.profiles or PROFILES:
            found += taken(name, given, Path(directory, name))
    tell("profiles", found, seed=given.seed, seconds=given.seconds, pause=given.pause)
    if not all(answer.kept for answer in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
