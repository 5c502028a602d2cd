"""The soak tells what grows from what does not; the probe tells when all went on."""

import pytest

from tests.chaos.figures import Probe
from tests.chaos.soak import Sample, growth

MIB = 2**20


def samples(memory: list[float], files: int = 40) -> list[Sample]:
    """One a minute."""
    return [Sample(60.0 * minute, int(mib * MIB), files) for minute, mib in enumerate(memory)]


def test_memory_that_grows_by_a_hundredth_a_minute_is_seen() -> None:
    found = growth("web-0", samples([100 + minute for minute in range(11)]))

    assert found.slope == pytest.approx(1.0, abs=0.1)


def test_growth_during_the_warm_up_does_not_count() -> None:
    found = growth("web-0", samples([50, 80, 95, 100, 100, 100, 100, 100, 100, 100, 100]))

    assert found.slope == 0.0


def test_memory_that_comes_and_goes_is_flat() -> None:
    found = growth("web-0", samples([100, 110, 100, 110, 100, 110, 100, 110, 100, 110, 100]))

    assert abs(found.slope) < 0.5


def test_too_few_samples_are_no_figure() -> None:
    with pytest.raises(ValueError, match="too few samples of web-0"):
        growth("web-0", samples([100.0])[:1])


@pytest.mark.parametrize(
    ("confirmed", "seconds"),
    [
        pytest.param([9.9, 10.1, 10.2, 10.3], 0.1, id="no silence: the next write is confirmed"),
        pytest.param([9.9, 17.0, 17.1, 17.2], 7.0, id="one silence: its end counts"),
        pytest.param([9.9, 12.0, 12.1, 17.0, 17.1], 7.0, id="two silences: the end of the last counts"),
        pytest.param([9.9], float("inf"), id="never again"),
    ],
)
def test_how_long_writes_were_held_up_after_a_fault_at_second_10(
    confirmed: list[float], seconds: float
) -> None:
    probe = Probe(None, "cluster", confirmed=confirmed)

    assert probe.again_after(10.0) == pytest.approx(seconds)
