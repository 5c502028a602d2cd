"""Reactive reconciliation (contract, section 6): triggers, both edges of the debounce, the limit a minute."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cluster.events import Reconciled
from domain.cluster.reactive import announce, announce_waiting, announces_at
from domain.cluster.state import ClusterState
from domain.policy import Policy
from domain.values import replace
from tests.domain.given import T0, after, create, delete, says, step, story, update

POLICY = Policy(reactive=True)
SPEC_ONLY = replace(POLICY, reactive_change_types=frozenset({"spec"}))
DEBOUNCE = POLICY.reactive_debounce


def reacted(
    record: ClusterState | None, what: object, at, policy: Policy = POLICY
) -> tuple[ClusterState, list[Reconciled]]:
    """The record after a command or report, and what of it is announced at once."""
    told: list[Reconciled] = []
    changed, events = step(record, what, at, policy)
    for event in events:
        changed, announced = announce(record, changed, event, at=at, policy=policy)
        told += announced
    return changed, told


def waited(record, at, policy=POLICY):
    record, announced = announce_waiting(record, at=at, policy=policy)
    return record, list(announced)


def kinds(told):
    return {event.change[0]: event.reason for event in told}


BORN = story((create(1), T0))
REPORTED = story((create(1), T0), (says(ready=False), after(seconds=1)))
LATER = after(minutes=10)


@pytest.mark.parametrize(
    ("given", "when", "told"),
    [
        pytest.param(None, create(1), {"spec": "cluster_created"}, id="a create"),
        pytest.param(BORN, update(2), {"spec": "generation_increment"}, id="an update"),
        pytest.param(
            REPORTED,
            update(2),
            {"spec": "generation_increment", "status": "status_change"},
            id="an update that changes the phase",
        ),
        pytest.param(
            BORN,
            says(ready=True),
            {"status": "status_change", "controller_status": "controller_status_created"},
            id="a first report",
        ),
        pytest.param(REPORTED, says(ready=False), {}, id="the same report again"),
        pytest.param(
            REPORTED,
            says(ready=True),
            {"status": "status_change", "controller_status": "controller_status_change"},
            id="another value of Available",
        ),
        pytest.param(
            REPORTED,
            says(ready=False, generation=2),
            {"status": "status_change", "controller_status": "controller_generation_change"},
            id="another generation",
        ),
        pytest.param(
            REPORTED,
            says(ready=True, generation=2),
            {"status": "status_change", "controller_status": "controller_status_and_generation_change"},
            id="another generation and value",
        ),
        pytest.param(
            REPORTED,
            says(ready=False, failing="Transient"),
            {"controller_status": "controller_status_change"},
            id="an error",
        ),
        pytest.param(REPORTED, delete(force=True), {}, id="a delete, which has its own event"),
    ],
)
def test_what_is_announced(given, when, told):
    _, announced = reacted(given, when, LATER if given else T0)
    assert told == kinds(announced)
    assert {"reactive_reconciliation"} >= {event.scheduled_by for event in announced}


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(Policy(), id="switched off"),
        pytest.param(replace(POLICY, reactive_change_types=frozenset({"status"})), id="not this kind"),
    ],
)
def test_nothing_is_announced_where_nobody_asked_for_it(policy):
    record, announced = reacted(BORN, update(2), LATER, policy)
    assert ([], None) == (announced, record.reactive)


def test_a_cluster_whose_schedule_is_disabled_is_not_announced():
    silent = replace(BORN, schedule=replace(BORN.schedule, enabled=False))
    _, announced = reacted(silent, update(2), LATER)
    assert [] == announced


def test_what_follows_within_the_debounce_is_announced_once_at_its_end():
    record, first = reacted(BORN, update(2), LATER, SPEC_ONLY)
    assert 1 == len(first)
    for number in (3, 4, 5):
        record, more = reacted(record, update(number), LATER + timedelta(seconds=0.1 * number), SPEC_ONLY)
        assert [] == more
    assert LATER + DEBOUNCE == announces_at(record, SPEC_ONLY)
    early, told = waited(record, LATER + DEBOUNCE - timedelta(milliseconds=1), SPEC_ONLY)
    assert [] == told
    record, told = waited(early, LATER + DEBOUNCE, SPEC_ONLY)
    assert [("spec", LATER + timedelta(seconds=0.5))] == [event.change for event in told]
    assert None is announces_at(record, SPEC_ONLY)
    assert ([], 5) == (waited(record, LATER + 2 * DEBOUNCE)[1], record.cluster.generation)


def test_kinds_of_change_do_not_hold_each_other_back():
    record, first = reacted(REPORTED, update(2), LATER)
    _, second = reacted(record, says(ready=True, generation=2), LATER + timedelta(seconds=1))
    assert {"spec", "status"} == set(kinds(first))
    assert {"controller_status"} == set(kinds(second))


def test_a_deleted_cluster_has_nothing_left_to_announce():
    record, _ = reacted(BORN, update(2), LATER, SPEC_ONLY)
    record, _ = reacted(record, update(3), LATER + timedelta(seconds=1), SPEC_ONLY)
    record, _ = reacted(record, delete(force=True), LATER + timedelta(seconds=1.5), SPEC_ONLY)
    assert ([], None) == (waited(record, LATER + DEBOUNCE)[1], announces_at(record, SPEC_ONLY))


@pytest.mark.parametrize(
    ("policy", "enabled"),
    [
        pytest.param(replace(SPEC_ONLY, reactive=False), True, id="reactive is switched off"),
        pytest.param(SPEC_ONLY, False, id="its schedule is disabled"),
    ],
)
def test_a_change_that_waits_asks_for_no_tick_once_it_may_not_be_announced(policy, enabled):
    record, _ = reacted(BORN, update(2), LATER, SPEC_ONLY)
    record, _ = reacted(record, update(3), LATER + timedelta(seconds=1), SPEC_ONLY)
    assert LATER + DEBOUNCE == announces_at(record, SPEC_ONLY)
    record = replace(record, schedule=replace(record.schedule, enabled=enabled))
    assert None is announces_at(record, policy)
    assert [] == waited(record, LATER + DEBOUNCE, policy)[1]


@given(
    st.lists(st.integers(1, 4000), min_size=1, max_size=80),
    st.integers(1, 5),
    st.sampled_from([0.2, 1.0, 2.0, 30.0]),
)
def test_the_last_change_is_always_announced_and_never_too_often(gaps, limit, debounce):
    policy = replace(SPEC_ONLY, reactive_limit=limit, reactive_debounce=timedelta(seconds=debounce))
    record, at, told, changed_at = BORN, LATER, [], LATER
    for number, gap in enumerate(gaps):
        at += timedelta(milliseconds=gap)
        while (moment := announces_at(record, policy)) is not None and moment <= at:
            record, announced = waited(record, moment, policy)
            assert announced, "a moment that was promised brings an announcement"
            told += announced
        record, announced = reacted(record, update(100 + number), at, policy)
        told, changed_at = told + announced, at
    while (moment := announces_at(record, policy)) is not None:
        record, announced = waited(record, moment, policy)
        assert announced, "a moment that was promised brings an announcement"
        told += announced
    assert changed_at == told[-1].change[1], "the last change is announced"
    times = [event.at for event in told]
    assert all(b - a >= policy.reactive_debounce for a, b in pairwise(times))
    for start in times:
        assert sum(start <= t < start + timedelta(minutes=1) for t in times) <= limit
