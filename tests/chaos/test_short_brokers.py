"""One run on three brokers, one of which falls silent: nothing lost, doubled or out of order."""

from pathlib import Path

import pytest

from tests.chaos.__main__ import offers
from tests.chaos.plan import draw
from tests.chaos.surviving import drawn_seed, survives

FAULTS = ("pause-leader", "kill-controller", "elect-leaders", "repeat-records", "poison")


@pytest.mark.timeout(240)
async def test_every_acknowledged_write_survives_a_broker_that_falls_silent(tmp_path: Path) -> None:
    """The order differs from time to time: one is paused, one killed, and the leaders move, under load."""
    plan = draw(
        drawn_seed(), offers=offers(), session=4.0, silence=10.0, calm=(0.3, 1.0), only=FAULTS, brokers=3
    )
    await survives(plan, tmp_path, brokers=3)
