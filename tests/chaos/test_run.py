"""A run in which too little happened counts as not run."""

from collections import Counter
from collections.abc import Collection

import pytest

from tests.chaos.fleet import WEBS
from tests.chaos.history import Attempt, History
from tests.chaos.observe import Observed
from tests.chaos.plan import Fault, draw
from tests.chaos.resources import ResourceHistory
from tests.chaos.run import Injected, Outcome

PLAN = draw(1, only=["kill-web"])
KILLED = Injected(Fault("kill-web", 0, 1.0, seed=1), began=40.0, ended=60.0)


def outcome(moments: list[float], *injected: Injected, read: Collection[int] = range(WEBS)) -> Outcome:
    """Of a run of 100 seconds with these faults, and an attempt at each of these moments.

    `read`: the web processes that resources were read through.
    """
    attempts = [
        Attempt(mark=str(at), kind="update", client="client", started=at, ended=at, status=200)
        for at in moments
    ]
    return Outcome(
        PLAN,
        History(attempts),
        Observed(),
        [],
        seconds=100.0,
        injected=list(injected),
        resources=ResourceHistory(reads=Counter(read)),
    )


ENOUGH = [at / 20 for at in range(2000)]


def test_a_run_under_load_counts() -> None:
    assert outcome(ENOUGH, KILLED).void == ""


def test_a_run_without_one_of_its_faults_does_not() -> None:
    assert outcome(ENOUGH).void == "0 of 1 faults were injected"


def test_a_run_without_reads_by_one_of_the_web_processes_does_not() -> None:
    assert outcome(ENOUGH, KILLED, read=[0, 1]).void == "no resource was read through web-2"


@pytest.mark.parametrize(
    ("moments", "why"),
    [
        pytest.param(ENOUGH[::4], "5.0 operations a second", id="too few operations"),
        pytest.param(
            [at for at in ENOUGH if not KILLED.began <= at <= KILLED.ended],
            "fewer than 3 operations began during kill-web 0 for 1.0 s",
            id="none during a fault",
        ),
    ],
)
def test_a_run_that_would_prove_nothing_does_not(moments: list[float], why: str) -> None:
    assert why in outcome(moments, KILLED).void
    assert why in [*outcome(moments, KILLED).row()][-1]
