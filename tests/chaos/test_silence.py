"""When writes have gone on after a broker fell silent, told from the moments at which they were confirmed."""

from math import inf

import pytest

from tests.chaos.silence import again_within


@pytest.mark.parametrize(
    ("confirmed", "seconds"),
    [
        pytest.param([10.5, 11.0, 11.9, 12.5], 0.0, id="no gap"),
        pytest.param([9.0, 12.0, 12.6], 2.0, id="one gap: its end counts"),
        pytest.param([10.5, 12.0, 12.2], 2.0, id="a gap that begins later"),
        pytest.param([10.5, 11.2], inf, id="a gap that is not over"),
        pytest.param([9.0, 13.5], inf, id="only once it was back"),
    ],
)
def test_writes_with_a_broker_that_is_silent_from_second_10_to_13(
    confirmed: list[float], seconds: float
) -> None:
    assert again_within(confirmed, 10.0, 13.0) == pytest.approx(seconds)
