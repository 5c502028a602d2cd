"""What is said of a load profile: each bound that is not kept is told."""

import pytest

from bench.profiles import PROFILES, Seen, answers


def seen(**members: object) -> Seen:
    """What users of profile B have seen where all is well, but for some members."""
    return Seen(**{"seconds": {"POST": [0.01] * 2000}, "checks": 100, "created": 2000, **members})


def unkept(given: Seen, lag: float = 1.0) -> list[str]:
    found = answers("b", PROFILES["b"], given, lag, {"web": 1.0})
    return [answer.question.partition(": ")[2] for answer in found if not answer.kept]


def test_nothing_is_told_where_all_is_kept():
    assert [] == unkept(seen())


@pytest.mark.parametrize(
    ("given", "lag", "told"),
    [
        pytest.param(seen(seconds={"POST": [0.01] * 90 + [0.2] * 10}), 1.0, "p95 of 100 requests", id="slow"),
        pytest.param(seen(failed={"POST": 200}), 1.0, "failed", id="failed"),
        pytest.param(seen(unkept=20), 1.0, "checks that failed", id="wrong"),
        pytest.param(seen(created=999), 1.0, "created", id="too few"),
        pytest.param(seen(), 61.0, "until all is stored", id="late"),
    ],
)
def test_what_is_not_kept_is_told(given, lag, told):
    assert [told] == unkept(given, lag)
