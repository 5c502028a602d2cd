"""`python -m tests.chaos`: runs with faults on purpose.

    run --seed 7             one run, as long as every kind of fault once takes; repeats what seed 7 did
    run --only kill-worker   only these kinds of faults
    long                     ten seeds, with a table at the end

Exits 0 if nothing was found, 1 if something was, 3 if a run counts as not run.
"""

import argparse
import logging
import random
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Final

import uvloop

from bench.figures import save, table
from bench.stage import REPOSITORY
from tests.chaos.fleet import Fleet
from tests.chaos.plan import Need, Plan, draw
from tests.chaos.run import HEADER, Outcome, describe, keep, run
from tests.chaos.servers import Disk, faketime

KEPT: Final = REPOSITORY / ".run" / "chaos"
LONG_SEEDS: Final = 10
FOUND: Final = 1
NOT_RUN: Final = 3


def offers() -> tuple[Need, ...]:
    """What this machine has for the faults that need something of it."""
    found: list[Need] = []
    disk = Disk(KEPT / "probe")
    if disk.mount():
        disk.unmount()
        found.append("disk")
    if faketime() is not None:
        found.append("clock")
    return tuple(found)


async def one(plan: Plan) -> Outcome:
    """A run on servers of its own; what fails is kept."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-seed-{plan.seed}"
    directory = KEPT / name / "servers"
    print(f"seed {plan.seed}: {plan.count} faults", flush=True)
    async with Fleet(directory, session=plan.session, environment={}) as fleet:
        outcome = await run(fleet, plan)
        if outcome.findings:
            keep(outcome, fleet, KEPT / name)
            print(f"kept in {KEPT / name}", flush=True)
    shutil.rmtree(directory if outcome.findings else directory.parent)
    print(table(HEADER, [outcome.row()]), describe(outcome), sep="\n", flush=True)
    return outcome


async def runs(plans: Sequence[Plan]) -> int:
    """All of them, one after the other; the exit status."""
    outcomes = [await one(plan) for plan in plans]
    rows = [outcome.row() for outcome in outcomes]
    print(table(HEADER, rows))
    save("chaos", {"header": HEADER, "runs": rows})
    if any(outcome.findings for outcome in outcomes):
        return FOUND
    return NOT_RUN if any(outcome.void for outcome in outcomes) else 0


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("run", "long"))
    parser.add_argument("--seed", type=int, default=None, help="of the plan; drawn if not given")
    parser.add_argument("--rounds", type=int, default=None, help="how often each kind of fault comes")
    parser.add_argument("--only", nargs="+", default=(), help="kinds of faults, instead of all")
    parser.add_argument("--session", type=float, default=6.0, help="Kafka's session time-out in seconds")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    long = arguments.what == "long"
    plans = [
        draw(
            seed + number,
            rounds=arguments.rounds or (2 if long else 1),
            offers=offers(),
            session=arguments.session,
            only=arguments.only,
        )
        for number in range(LONG_SEEDS if long else 1)
    ]
    logging.disable(logging.ERROR)  # aiokafka reports each attempt to reach a broker that was killed
    sys.exit(uvloop.run(runs(plans)))


if __name__ == "__main__":
    main()
