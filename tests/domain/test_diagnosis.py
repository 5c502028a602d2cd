"""What is said of a cluster, and what is recommended (operations contract, section 6)."""

from datetime import timedelta

import pytest

from domain.checkup import CHECKUP, KEPT_FOR, Diagnose
from domain.diagnosis import Facts, diagnose
from tests.domain.given import CLUSTER_ID, T0

# The word of each recommendation by which clients make a job of it.
WORDS = {
    "R1": "droplet", "R2": "first droplet", "R3a": "scale", "R3b": "droplet", "R4a": "droplet",
    "R4b": "monitor", "R5": "scale", "R6": "monitor",
}  # fmt: skip


def facts(droplets=9, status="healthy", failing=()):
    return Facts(name="one", region="nyc3", status=status, droplets=droplets, failing=failing)


@pytest.mark.parametrize(
    ("droplets", "status", "rules"),
    [
        (0, "healthy", ["R1", "R2"]),
        (1, "healthy", ["R1", "R5"]),
        (2, "healthy", ["R5"]),
        (4, "healthy", ["R5"]),
        (5, "healthy", ["R6"]),
        (0, "critical", ["R1", "R2", "R3a", "R3b"]),
        (1, "critical", ["R1", "R3a", "R3b", "R5"]),
        (5, "critical", ["R3a", "R3b"]),
        (1, "warning", ["R1", "R4a", "R4b", "R5"]),
        (5, "warning", ["R4a", "R4b"]),
    ],
)
def test_recommendations_add_up_in_order(droplets, status, rules):
    said = [text.lower() for text in diagnose(facts(droplets, status), T0).recommendations]
    assert len(rules) == len(said)
    assert all(WORDS[rule] in text for rule, text in zip(rules, said, strict=True))


def test_monitoring_is_no_reason_to_scale():
    said = diagnose(facts(status="warning"), T0).recommendations[-1].lower()
    assert "droplet" not in said
    assert "scale" not in said


@pytest.mark.parametrize(
    ("status", "words"),
    [("healthy", "all good"), ("warning", "degraded performance"), ("critical", "critical issue")],
)
def test_insights_are_the_droplets_the_region_the_status_and_what_fails(status, words):
    first, second, third, *rest = diagnose(facts(3, status, ("dns is down",)), T0).insights
    assert "3 droplets" in first
    assert "nyc3" in second
    assert words in third
    assert ["dns is down"] == rest


def test_one_droplet_is_no_droplets():
    assert "1 droplet running" in diagnose(facts(1), T0).insights[0]
    assert "no region" in diagnose(Facts(name="o", region="", status="healthy", droplets=1), T0).insights[1]


# --- checkups -------------------------------------------------------------------------------------------


def diagnosed(*steps):
    """The state after diagnoses of so many droplets, an hour apart."""
    state = None
    for number, droplets in enumerate(steps):
        command = Diagnose(id=CLUSTER_ID, command_id=str(number), facts=facts(droplets))
        (event,) = CHECKUP.decide(state, command, T0 + timedelta(hours=number))
        state = CHECKUP.evolve(state, event)
    return state


def test_the_last_diagnosis_counts():
    checkup = diagnosed(0, 7).checkup
    assert (7, T0, T0 + timedelta(hours=1)) == (checkup.droplets, checkup.created_at, checkup.updated_at)
    assert 1 == len(checkup.recommendations)


def test_it_is_forgotten_and_begins_again():
    state = diagnosed(0)
    assert T0 + KEPT_FOR == CHECKUP.due_at(state)
    (event,) = CHECKUP.wake(state, CHECKUP.due_at(state))
    gone = CHECKUP.evolve(state, event)
    assert gone.deleted_at is not None
    later = T0 + timedelta(days=8)
    (event,) = CHECKUP.decide(gone, Diagnose(id=CLUSTER_ID, command_id="x", facts=facts()), later)
    assert (later, None) == (event.checkup.created_at, CHECKUP.evolve(gone, event).deleted_at)
