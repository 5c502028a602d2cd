"""One run with every kind of fault, on servers of its own: nothing lost, doubled or out of order."""

from pathlib import Path

import pytest

from tests.chaos.__main__ import offers
from tests.chaos.plan import draw
from tests.chaos.surviving import drawn_seed, survives


@pytest.mark.timeout(480)
async def test_every_acknowledged_write_survives_every_kind_of_fault(tmp_path: Path) -> None:
    """The plan differs from time to time; its faults come one after the other, on two lanes, under load."""
    await survives(draw(drawn_seed(), offers=offers(), session=4.0, calm=(0.3, 1.0)), tmp_path)
