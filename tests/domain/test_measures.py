"""How a cluster is by its samples (operations contract, section 8)."""

from datetime import timedelta

import pytest

from domain.checkup import CHECKUP, Check, Diagnose
from domain.diagnosis import Facts, diagnose
from domain.measures import FRESH, STALE, KnownSample, Sample, judge
from tests.domain.given import CLUSTER_ID, T0


def sample(type_, value, age=timedelta(0), made=Sample):
    unit = "Mbps" if type_ == "network" else "%"
    return made(type=type_, value=value, unit=unit, timestamp=T0 - age)


@pytest.mark.parametrize(
    ("values", "status", "issues"),
    [
        ({"cpu": 80.0}, "healthy", 0),
        ({"cpu": 80.1}, "warning", 1),
        ({"memory": 85.0}, "healthy", 0),
        ({"memory": 85.1}, "critical", 1),
        ({"disk": 90.0}, "healthy", 0),
        ({"disk": 90.1}, "critical", 1),
        ({"network": 1e9}, "healthy", 0),
        ({"cpu": 99.0, "memory": 99.0}, "critical", 2),
        ({"memory": 99.0, "cpu": 99.0}, "critical", 2),
        ({"cpu": 99.0, "memory": 1.0, "disk": 91.0, "network": 5.0}, "critical", 2),
    ],
)
@pytest.mark.parametrize("otherwise", ["healthy", "critical"])
def test_the_worst_counts_and_each_type_has_one_issue(values, status, issues, otherwise):
    found = judge([sample(*each) for each in values.items()], T0, otherwise=otherwise)
    assert (status, issues) == (found.status, len(found.issues))


def test_an_issue_says_what_is_too_much():
    assert ("cpu is 95.5 %, above 80 %",) == judge([sample("cpu", 95.5)], T0, otherwise="healthy").issues


@pytest.mark.parametrize(
    ("age", "status", "issues"),
    [(FRESH, "warning", 1), (FRESH + timedelta(milliseconds=1), "healthy", 1)],
)
def test_a_sample_counts_for_five_minutes(age, status, issues):
    found = judge([sample("cpu", 99.0, age)], T0, otherwise="healthy")
    assert (status, issues) == (found.status, len(found.issues))


@pytest.mark.parametrize("otherwise", ["healthy", "warning", "critical"])
def test_without_fresh_samples_it_is_as_it_is_otherwise(otherwise):
    assert (otherwise, (STALE,)) == judge([], T0, otherwise=otherwise)


# --- checkups -------------------------------------------------------------------------------------------


def facts(*samples, status="healthy"):
    return Facts(name="one", region="nyc3", status=status, droplets=3, samples=samples)


def checked(*steps):
    """The state after checks at these values of cpu, and what they have led to."""
    state, told = None, []
    for number, value in enumerate(steps):
        check = Check(
            id=CLUSTER_ID, command_id=str(number), facts=facts(sample("cpu", value, made=KnownSample))
        )
        for event in CHECKUP.decide(state, check, T0 + timedelta(minutes=number)):
            state = CHECKUP.evolve(state, event)
            told.append((event.how, event.before, event.checkup.health))
    return state, told


def test_another_health_is_told_once():
    state, told = checked(10.0, 90.0, 95.0, 10.0)
    changes = [(before, health) for how, before, health in told if how == "changed"]
    assert [("healthy", "warning"), ("warning", "healthy")] == changes
    assert 4 == sum(how == "checked" for how, *_ in told)
    assert (T0, T0 + timedelta(minutes=3)) == (state.checkup.created_at, state.checkup.updated_at)


def test_a_check_leaves_the_diagnosis_and_a_diagnosis_the_check():
    state, _ = checked(95.0)
    diagnose_ = Diagnose(id=CLUSTER_ID, command_id="d", facts=facts(status="warning"))
    (event,) = CHECKUP.decide(state, diagnose_, T0)
    state = CHECKUP.evolve(state, event)
    assert ("warning", "warning") == (state.checkup.health, state.checkup.status)
    (event, *_) = CHECKUP.decide(state, Check(id=CLUSTER_ID, command_id="c", facts=facts()), T0)
    assert event.checkup.recommendations == state.checkup.recommendations != ()


def test_a_diagnosis_says_what_is_too_much_and_fresh():
    old = sample("memory", 99.0, FRESH * 2, made=KnownSample)
    said = diagnose(facts(sample("cpu", 99.0, made=KnownSample), old), T0).insights
    assert ["cpu is 99 %, above 80 %"] == list(said[3:])
