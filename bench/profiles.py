"""`python -m bench.profiles`: the load profiles of the contract (resources contract, section 11).

    a   up to 100 users for 4.5 minutes, each of whom creates a resource, gets it, lists, makes it `inactive`,
        deletes it in one of five cases, and asks for the health
    b   up to 200 users for 5 minutes, each of whom creates five at once, and in three of ten cases one more,
        which is updated and deleted

The number of users grows in the first third. The contract says nothing of pauses: here each user thinks for a
second after a step, and for five after a burst. Every change starts a task. The contract allows a p95 of
500 ms and 1 s; a tenth of that is asked here. When the load has ended, everything must be done and stored
within a minute.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.bursts import metric
from bench.figures import Answer, percentile, tell
from bench.stage import HOST, RoleProcess, Stage, wait_ready
from bench.usage import usage
from bench.wire import AsyncConnection, request_bytes

PATH: Final = "/api/v1/resources"
NOBODY: Final = "user@example.com"
PAUSE: Final = 1.0  # seconds of a user after a step
CALM: Final = 5.0  # seconds after a burst
GROWS: Final = 1 / 3  # of the time in which users join
ROLES: Final = ("worker", "web", "grpc", "executor", "relay", "sink", "recorder")
LAG_WITHIN: Final = 60.0  # seconds


@dataclass(slots=True)
class Seen:
    """What users have seen: seconds by step, and requests and checks that failed."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: Counter[str] = field(default_factory=Counter)
    checks: int = 0
    unkept: int = 0
    created: int = 0

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
            return None
        self._seen.seconds[step].append(time.perf_counter() - started)
        self._idle.append(connection)
        await asyncio.sleep(PAUSE)
        if answer.status != status:
            self._seen.failed[step] += 1
            return None
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
    await asyncio.sleep(CALM - PAUSE)
    if user.draws.random() < 0.3 and (id := await user.create()) is not None:
        await user.update(id)
        await user.delete(id)


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile.

    Attributes:
        p95: Milliseconds that are asked, a tenth of what the contract allows.
        created: Resources that are asked for; None for any number.
    """

    users: int
    seconds: float
    round: Callable[[User, Seen], Awaitable[None]]
    p95: float
    created: int | None = None


PROFILES: Final = {"a": Profile(100, 270.0, round_a, 50.0), "b": Profile(200, 300.0, round_b, 100.0, 1000)}


async def loaded(profile: Profile, port: int, seconds: float, seed: int) -> Seen:
    """Have users come and go."""
    seen, draws = Seen(), random.Random(seed)
    began = time.monotonic()

    async def one(number: int) -> None:
        user = User(port, seen, random.Random(draws.random()))
        await asyncio.sleep(seconds * GROWS * number / profile.users)
        while time.monotonic() - began < seconds:
            await profile.round(user, seen)
        user.close()

    async with asyncio.TaskGroup() as group:
        for number in range(profile.users):
            group.create_task(one(number))
    return seen


async def until_quiet(roles: dict[str, RoleProcess]) -> float:
    """Seconds until all tasks are done, and all rows stored. Raises: TimeoutError."""
    started = time.monotonic()
    connection = AsyncConnection(HOST, roles["web"].port)
    async with asyncio.timeout(2 * LAG_WITHIN):
        while True:
            left = [
                (await connection.exchange(request_bytes("GET", path, email=NOBODY))).json()
                for path in (f"/api/v1/tasks?status={status}&limit=1" for status in ("pending", "processing"))
            ]
            lags = [
                await asyncio.to_thread(metric, roles[name], "clusterflow_sink_lag_records")
                for name in ("sink", "recorder")
            ]
            if not any(left) and not any(lags):
                connection.close()
                return time.monotonic() - started
            await asyncio.sleep(0.5)


def answers(name: str, profile: Profile, seen: Seen, lag: float, cpu: dict[str, float]) -> list[Answer]:
    """What is asked of a profile."""
    times = sorted(second for each in seen.seconds.values() for second in each)
    requests, failed = len(times) + sum(seen.failed.values()), sum(seen.failed.values())
    question = f"profile {name.upper()}, {profile.users} users"
    p95 = percentile(times, 0.95) * 1000
    costs = ", ".join(f"{role} {seconds / requests * 1e6:.0f}" for role, seconds in cpu.items())
    return [
        Answer(
            f"{question}: p95 of {requests:,} requests", f"{p95:.1f} ms", "", p95, most=profile.p95, unit="ms"
        ),
        *(
            Answer(f"{question}: {step}, p50", f"p95 {_p(each, 0.95):.1f} ms", "", _p(each, 0.5), unit="ms")
            for step, each in sorted(seen.seconds.items())
        ),
        Answer(f"{question}: failed", f"{failed}", "", failed / requests * 100, most=5, unit="%"),
        Answer(
            f"{question}: checks that failed",
            f"{seen.unkept} of {seen.checks}",
            "",
            seen.unkept / max(1, seen.checks) * 100,
            most=10,
            unit="%",
        ),
        Answer(
            f"{question}: created",
            f"{seen.created:,}",
            "",
            seen.created,
            least=profile.created,
            unit="resources",
        ),
        Answer(f"{question}: until all is stored", f"{lag:.1f} s", "", lag, most=LAG_WITHIN, unit="s"),
        Answer(
            f"{question}: processor time",
            costs,
            "",
            sum(cpu.values()) / requests * 1e6,
            unit="µs",
        ),
    ]


def _p(seconds: Sequence[float], rank: float) -> float:
    return percentile(sorted(seconds), rank) * 1000


def taken(name: str, given: argparse.Namespace, directory: Path) -> list[Answer]:
    """Run a profile on a stage of its own."""
    profile = PROFILES[name]
    with Stage(directory) as stage:
        roles = {role: stage.start(role) for role in ROLES}
        wait_ready(*roles.values())
        before = {role: usage(process.pid).cpu_seconds for role, process in roles.items()}
        seen = asyncio.run(loaded(profile, roles["web"].port, given.seconds or profile.seconds, given.seed))
        lag = asyncio.run(until_quiet(roles))
        cpu = {role: usage(process.pid).cpu_seconds - before[role] for role, process in roles.items()}
    return answers(name, profile, seen, lag, cpu)


def main() -> None:
    """Run and print; status 1 if a bound is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profiles", nargs="*", choices=[*PROFILES, []], help="which of them (default: both)")
    parser.add_argument("--seconds", type=float, help="shorter than the contract has it")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        for name in given.profiles or PROFILES:
            found += taken(name, given, Path(directory, name))
    tell("profiles", found, seed=given.seed)
    if not all(answer.kept for answer in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
