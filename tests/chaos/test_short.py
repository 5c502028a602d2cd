"""One run with every kind of fault, on servers of its own: nothing lost, doubled or out of order."""

import os
import random
from pathlib import Path

import pytest

from tests.chaos.__main__ import KEPT, offers
from tests.chaos.fleet import Fleet
from tests.chaos.plan import draw
from tests.chaos.run import describe, keep, run

SEED = "CHAOS_SEED"  # of a run to be repeated


@pytest.mark.timeout(480)
async def test_every_acknowledged_write_survives_every_kind_of_fault(tmp_path: Path) -> None:
    # given a fleet, and a plan that differs from time to time
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(10**6))
    plan = draw(seed, offers=offers(), session=4.0, calm=(0.3, 1.0))
    print(f"again by {SEED}={seed}")  # pytest shows it with a failure

    # when its faults come one after the other, on two lanes, under load
    async with Fleet(tmp_path, session=plan.session, environment={}) as fleet:
        outcome = await run(fleet, plan)
        if outcome.findings:
            keep(outcome, fleet, KEPT / f"test-seed-{seed}")

    # then what clients were told is what there is, and enough happened to say so
    assert outcome.findings == [], describe(outcome)
    assert outcome.void == "", describe(outcome)
    assert len(outcome.injected) == plan.count
