"""`python -m tests.chaos`: runs with faults on purpose.

    run --seed 7             one run, as long as every kind of fault once takes; repeats what seed 7 did
    run --only kill-worker   only these kinds of faults
    run --brokers 3          on three brokers, with all that can happen to one of them
    long                     ten seeds, with a table at the end
    soak                     full load for ten minutes: does memory grow, do files?
    standby, failover        seconds until all writes go on after kill -9 of one of two workers, with and
                             without a standby replica
    web                      seconds until a restarted web process is ready
    silent                   each of three brokers paused for half a minute: seconds until all writes go on
    postgres                 writes with and without PostgreSQL, and how long it takes to catch up

The last five take --clusters, which there are to be before. `run` and `long` exit with 0 if nothing
was found, with 1 if something was, with 3 if a run counts as not run.
"""

import argparse
import logging
import random
import shutil
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import uvloop

from bench.figures import save, table
from bench.stage import REPOSITORY
from tests.chaos import figures, silence, stalls
from tests.chaos import soak as soaking
from tests.chaos.fleet import Fleet
from tests.chaos.plan import Need, Plan, draw
from tests.chaos.run import HEADER, Outcome, describe, keep, run
from tests.chaos.servers import Clock, Disk
from tests.chaos.silence import silent_brokers
from tests.chaos.soak import soak

KEPT: Final = REPOSITORY / ".run" / "chaos"
LONG_SEEDS: Final = 10
FOUND: Final = 1
NOT_RUN: Final = 3
FIGURES: Final = ("standby", "failover", "web", "postgres")
SILENT: Final = 30.0  # seconds; longer than any time-out of a client


def offers() -> tuple[Need, ...]:
    """What this machine has for the faults that need something of it."""
    found: list[Need] = []
    probe = KEPT / "probe"
    disk = Disk(probe)
    if disk.mount():
        disk.unmount()
        found.append("disk")
    if Clock(probe).build():
        found.append("clock")
    shutil.rmtree(probe)
    return tuple(found)


async def one(plan: Plan, brokers: int) -> Outcome:
    """A run on servers of its own; what fails is kept."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-seed-{plan.seed}"
    directory = KEPT / name / "servers"
    print(f"seed {plan.seed}: {plan.count} faults", flush=True)
    async with Fleet(directory, session=plan.session, environment={}, brokers=brokers) as fleet:
        outcome = await run(fleet, plan)
        if outcome.findings:
            keep(outcome, fleet, KEPT / name)
            print(f"kept in {KEPT / name}", flush=True)
    shutil.rmtree(directory if outcome.findings else directory.parent)
    print(table(HEADER, [outcome.row()]), describe(outcome), sep="\n", flush=True)
    print(table(stalls.HEADER, stalls.rows(outcome)), flush=True)
    for seconds in stalls.resumed(outcome):
        print(f"writes went on {seconds:.1f} s after the second of three brokers was back", flush=True)
    return outcome


async def runs(plans: Sequence[Plan], brokers: int) -> int:
    """All of them, one after the other; the exit status."""
    outcomes = [await one(plan, brokers) for plan in plans]
    rows = [outcome.row() for outcome in outcomes]
    print(table(HEADER, rows))
    faults = [stalls.rows(outcome) for outcome in outcomes]
    found = {"header": HEADER, "runs": rows, "faults_header": stalls.HEADER, "faults": faults}
    save("chaos" if brokers == 1 else f"chaos-{brokers}", found)
    if any(outcome.findings for outcome in outcomes):
        return FOUND
    return NOT_RUN if any(outcome.void for outcome in outcomes) else 0


async def soaked(seconds: float, clients: int) -> int:
    """The soak on servers of its own; the exit status."""
    async with _fleet(f"soak-{time.strftime('%Y%m%d-%H%M%S')}", session=6.0) as fleet:
        found, rate = await soak(fleet, seconds=seconds, clients=clients)
    rows = [each.row() for each in found]
    print(f"{rate:.0f} operations a second for {seconds:.0f} s", table(soaking.HEADER, rows), sep="\n")
    save("soak", {"seconds": seconds, "per_second": rate, "header": soaking.HEADER, "roles": rows})
    return 0


async def silent(clusters: int) -> int:
    """What each of three brokers costs while it is silent; the exit status."""
    name = f"silent-{time.strftime('%Y%m%d-%H%M%S')}"
    async with _fleet(name, session=6.0, brokers=3) as fleet:
        await fleet.start(*fleet.of("web")[:1], *fleet.of("worker")[:2], *fleet.of("sink"))
        if clusters:
            await figures.fill(fleet, clusters)
        rows = [each.row() for each in await silent_brokers(fleet, seconds=SILENT)]
    print(table(silence.HEADER, rows))
    save("chaos-silent", {"clusters": clusters, "header": silence.HEADER, "brokers": rows})
    return 0


async def measured(what: str, clusters: int, brokers: int) -> int:
    """One figure of fail-over, on servers of its own; the exit status."""
    standby = {"STANDBY_REPLICAS": "1"} if what == "standby" else {}
    name = f"{what}-{time.strftime('%Y%m%d-%H%M%S')}"
    async with _fleet(name, session=6.0, environment=standby, brokers=brokers) as fleet:
        await fleet.start(*fleet.of("web")[:1], *fleet.of("worker")[:2], *fleet.of("sink"))
        if clusters:
            await figures.fill(fleet, clusters)
        match what:
            case "standby" | "failover":
                figure: object = await figures.killed_worker(fleet)
            case "web":
                figure = await figures.restarted_web(fleet)
            case _:
                figure = await figures.postgres_away(fleet, seconds=30.0)
    print(f"{what} with {clusters} clusters on {brokers} brokers: {figure}")
    save(f"chaos-{what}", {"clusters": clusters, "brokers": brokers, "figure": figure})
    return 0


@asynccontextmanager
async def _fleet(
    name: str, *, session: float, environment: Mapping[str, str] | None = None, brokers: int = 1
) -> AsyncIterator[Fleet]:
    """A fleet in a directory of its own, which goes with it."""
    directory, settings = KEPT / name, environment or {}
    async with Fleet(directory / "servers", session=session, environment=settings, brokers=brokers) as fleet:
        yield fleet
    shutil.rmtree(directory)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("run", "long", "soak", "silent", *FIGURES))
    parser.add_argument("--seed", type=int, default=None, help="of the plan; drawn if not given")
    parser.add_argument("--rounds", type=int, default=None, help="how often each kind of fault comes")
    parser.add_argument("--only", nargs="+", default=(), help="kinds of faults, instead of all")
    parser.add_argument("--session", type=float, default=6.0, help="Kafka's session time-out in seconds")
    parser.add_argument("--seconds", type=float, default=600.0, help="of the soak")
    parser.add_argument("--clients", type=int, default=16, help="of the soak")
    parser.add_argument("--clusters", type=int, default=0, help="there are before a figure is taken")
    parser.add_argument(
        "--brokers", type=int, choices=(1, 3), default=1, help="nodes of Kafka in a run or of a figure"
    )
    arguments = parser.parse_args()
    logging.disable(logging.ERROR)  # aiokafka reports each attempt to reach a broker that was killed
    match arguments.what:
        case "run" | "long":
            sys.exit(uvloop.run(runs(_plans(arguments), arguments.brokers)))
        case "soak":
            sys.exit(uvloop.run(soaked(arguments.seconds, arguments.clients)))
        case "silent":
            sys.exit(uvloop.run(silent(arguments.clusters)))
        case what:
            sys.exit(uvloop.run(measured(what, arguments.clusters, arguments.brokers)))


def _plans(arguments: argparse.Namespace) -> list[Plan]:
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    long = arguments.what == "long"
    return [
        draw(
            seed + number,
            rounds=arguments.rounds or (2 if long else 1),
            offers=offers(),
            session=arguments.session,
            only=arguments.only,
            brokers=arguments.brokers,
        )
        for number in range(LONG_SEEDS if long else 1)
    ]


if __name__ == "__main__":
    main()
