"""Runs one plan of faults and asserts that the product survives it."""

import os
import random
from pathlib import Path

from tests.chaos.__main__ import KEPT
from tests.chaos.fleet import Fleet
from tests.chaos.plan import Plan
from tests.chaos.run import describe, keep, run

SEED = "CHAOS_SEED"  # of a run to be repeated


def drawn_seed() -> int:
    """The one to be repeated, or a new one; pytest shows it with a failure."""
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(10**6))
    print(f"again by {SEED}={seed}")
    return seed


async def survives(plan: Plan, directory: Path, *, brokers: int = 1) -> None:
    """Run a plan: what clients were told is what there is, and enough happened to say so."""
    async with Fleet(directory, session=plan.session, environment={}, brokers=brokers) as fleet:
        outcome = await run(fleet, plan)
        if outcome.findings:
            keep(outcome, fleet, KEPT / f"test-{brokers}-seed-{plan.seed}")
    assert outcome.findings == [], describe(outcome)
    assert outcome.void == "", describe(outcome)
    assert len(outcome.injected) == plan.count
