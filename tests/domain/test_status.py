"""Contract section 3: the table S1 to S8, and what counts for it."""

from datetime import timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cluster.state import Status
from domain.cluster.status import aggregate, changes_at
from domain.values import replace
from tests.domain.given import (
    CLUSTER_ID,
    POLICY,
    T0,
    after,
    available,
    create,
    says,
    step,
    stored,
    story,
    update,
)
from tests.domain.scenarios import s1, s2, s3, s4, s5, s6, s7, s8, said

# One letter a controller: R ready, r ready with an error, w working, t transient error, F fatal error,
# C configuration error, S system error, u an error without a type.
LETTERS = {
    "R": (True, None),
    "r": (True, "Transient"),
    "w": (False, None),
    "t": (False, "Transient"),
    "F": (False, "Fatal"),
    "C": (False, "Configuration"),
    "S": (False, "System"),
    "u": (False, ""),
}


# Controllers, minutes since the first report, minutes since the latest one, what they add up to.
CASES = {
    "S1 nobody has reported": ("", 0, 0, s1()),
    "S2 one of one is ready": ("R", 0, 0, s2(1)),
    "S2 all three are ready, long after": ("RRR", 600, 600, s2(3)),
    "S3 some are ready": ("RRw", 0, 0, s3(2, 3)),
    "S3 knows no grace": ("Rw", 600, 600, s3(1, 2)),
    "S4 some are ready, one fails": ("RF", 0, 0, s4(1, 2)),
    "S4 some are ready, one has a transient error": ("RRt", 0, 0, s4(2, 3)),
    "S4 all are ready, one with an error": ("Rr", 0, 0, s4(2, 2)),
    "S4 knows no grace": ("RF", 600, 600, s4(1, 2)),
    "S5 all work, the whole grace left": ("ww", 0, 0, s5(2, 30)),
    "S5 all work, half a minute gone": ("w", 0.5, 0.5, s5(1, 29)),
    "S5 a minute and a half left": ("w", 28.5, 0, s5(1, 1)),
    "S5 a whole minute left": ("w", 29, 29, s5(1, 1)),
    "S5 less than a minute left drops the suffix": ("w", 29.5, 29.5, s5(1, 0)),
    "S5 silence does not matter in grace": ("w", 20, 20, s5(1, 10)),
    "S5 transient errors are met with patience": ("tt", 10, 10, s5(2, 20)),
    "S5 one works, one has a transient error": ("wt", 10, 0, s5(2, 20)),
    "S6 grace over, one still speaks": ("ww", 31, 4, s6(2)),
    "S6 the grace is over to the second": ("w", 30, 0, s6(1)),
    "S6 five minutes is not yet silence": ("w", 45, 5, s6(1)),
    "S7 grace over and silent": ("ww", 36, 6, s7(2, 36)),
    "S7 rounds minutes up": ("w", 40.7, 40.7, s7(1, 41)),
    "S7 rounds minutes down": ("w", 40.3, 5.1, s7(1, 40)),
    "S7 a heartbeat too old does not count as progress": ("www", 60, 5.01, s7(3, 60)),
    "S8 a fatal error in grace": ("F", 0, 0, s8(1)),
    "S8 a configuration error among workers": ("wCw", 1, 0, s8(3)),
    "S8 a system error beside a transient one": ("St", 1, 0, s8(2)),
    "S8 an error without a type is not transient": ("u", 1, 0, s8(1)),
    "S8 transient errors after the grace": ("tw", 31, 0, s8(2)),
    "S8 a fatal error after the grace": ("wF", 31, 0, s8(2)),
    "S8 the grace is over to the second": ("t", 30, 30, s8(1)),
}


@pytest.mark.parametrize(("controllers", "first", "latest", "expected"), CASES.values(), ids=CASES.keys())
def test_reports_add_up_to(controllers, first, latest, expected):
    at = after(hours=20)
    status = aggregate(
        7,
        _reports(controllers, first, latest, at),
        first_report_at=at - timedelta(minutes=first),
        previous=None,
        at=at,
        policy=POLICY,
    )
    assert expected == said(status)
    assert ["Ready", "Available"] == [condition.type for condition in status.conditions]
    assert (7, at) == (status.observedGeneration, status.lastUpdateTime)


def _reports(letters: str, first: float, latest: float, at):
    reports = []
    for index, letter in enumerate(letters):
        ready, failing = LETTERS[letter]
        minutes = latest if index == len(letters) - 1 else first
        reports.append(stored(f"c{index}", ready=ready, failing=failing, at=at - timedelta(minutes=minutes)))
    return reports


def test_half_a_minute_rounds_up():
    at = after(minutes=40.5)
    reports = _reports("w", 40.5, 40.5, at)
    status = aggregate(1, reports, first_report_at=T0, previous=None, at=at, policy=POLICY)
    assert s7(1, 41) == said(status)


@pytest.mark.parametrize("letters", ["RFw", "Rwt", "wwt", "wF"])
def test_the_order_of_reports_does_not_matter(letters):
    at = after(minutes=5)
    outcomes = {
        aggregate(1, order, first_report_at=T0, previous=None, at=at, policy=POLICY).message
        for order in permutations(_reports(letters, 5, 5, at))
    }
    assert len(outcomes) == 1


@pytest.mark.parametrize(
    ("conditions", "phase"),
    [
        pytest.param((available("True"),), "Ready", id="Available=True is ready"),
        pytest.param((available("true"),), "Progressing", id="the value is compared with its case"),
        pytest.param((available("Unknown"),), "Progressing", id="Unknown is not ready"),
        pytest.param((), "Progressing", id="no conditions is not ready"),
    ],
)
def test_a_controller_is_ready_by_its_condition_available(conditions, phase):
    record = story((create(), T0), (says("dns", 1, *conditions), after(seconds=1)))
    assert phase == record.cluster.status.phase


@pytest.mark.parametrize("type_", ["Ready", "available", "AVAILABLE", "Healthy"])
def test_other_condition_types_do_not_make_a_controller_ready(type_):
    condition = replace(available("True"), type=type_)
    record = story((create(), T0), (says("dns", 1, condition), after(seconds=1)))
    assert record.cluster.status.phase == "Progressing"


def test_a_cluster_is_pending_from_birth():
    record = story((create(), T0))
    assert s1() == said(record.cluster.status)
    assert (1, T0) == (record.cluster.status.observedGeneration, record.cluster.status.lastUpdateTime)


def test_a_spec_update_restates_at_once_and_keeps_old_reports_listed():
    record = story((create(), T0), (says(ready=True), after(seconds=1)), (update(), after(seconds=2)))
    assert (2, "Pending") == (record.cluster.status.observedGeneration, record.cluster.status.phase)
    assert {"dns": 1} == {name: r.observed_generation for name, r in record.reports.items()}


def test_a_report_of_an_older_generation_is_listed_but_not_counted():
    record = story(
        (create(), T0), (update(), after(seconds=1)), (says(generation=1, ready=True), after(seconds=2))
    )
    assert record.cluster.status.phase == "Pending"
    assert "dns" in record.reports


def test_the_first_controller_of_a_new_generation_makes_it_ready():
    record = story(
        (create(), T0),
        (says("dns", ready=True), after(seconds=1)),
        (says("network", ready=False), after(seconds=2)),
        (update(), after(seconds=3)),
        (says("dns", 2, ready=True), after(seconds=4)),
    )
    assert record.cluster.status.phase == "Ready"


def test_a_report_from_the_future_is_listed_but_not_counted():
    record = story((create(), T0), (says(generation=2, ready=True), after(seconds=1)))
    assert record.cluster.status.phase == "Pending"
    assert record.reports["dns"].observed_generation == 2


@pytest.mark.parametrize(
    ("seconds", "phase"),
    [
        pytest.param(59, "Ready", id="up to 60 s before its generation it counts, as after a replay"),
        pytest.param(60, "Ready", id="60 s before its generation it still counts"),
        pytest.param(61, "Pending", id="more than 60 s before its generation it was a guess"),
    ],
)
def test_a_report_from_the_future_whose_generation_comes(seconds, phase):
    record = story((create(), T0), (says(generation=2, ready=True), T0), (update(), after(seconds=seconds)))
    assert phase == record.cluster.status.phase


def test_a_guess_counts_once_its_controller_reports_again():
    record = story(
        (create(), T0),
        (says(generation=2, ready=True), T0),
        (update(), after(minutes=5)),
        (says(generation=2, ready=True), after(minutes=6)),
    )
    assert record.cluster.status.phase == "Ready"


def test_heartbeats_do_not_restart_the_grace():
    steps = [(says(ready=False), after(minutes=4 * n)) for n in range(1, 9)]
    record = story((create(), T0), *steps)  # first report at 4, last at 32
    assert "(2 minutes remaining)" in record.cluster.status.message
    record = story((create(), T0), *steps, (None, after(minutes=34)))
    assert record.cluster.status.reason == "ControllersShowingProgress"


def test_the_grace_starts_anew_with_a_new_generation():
    record = story(
        (create(), T0),
        (says(ready=False), after(minutes=1)),
        (update(), after(minutes=29)),
        (says(generation=2, ready=False), after(minutes=30)),
        (None, after(minutes=50)),
    )
    assert "(10 minutes remaining)" in record.cluster.status.message


def test_time_alone_leads_from_provisioning_over_progress_to_failure():
    record = story((create(), T0), (says(ready=False), T0), (says(ready=False), after(minutes=28)))
    seen = []
    for minute in range(29, 36):
        record, _ = step(record, None, after(minutes=minute))
        seen.append(record.cluster.status.reason)
    assert [
        "ControllersProvisioning",  # 29
        "ControllersShowingProgress",  # 30: the grace is over
        "ControllersShowingProgress",
        "ControllersShowingProgress",
        "ControllersShowingProgress",  # 33: the last word is five minutes old
        "ControllerTimeout",
        "ControllerTimeout",
    ] == seen


def transitions(status: Status) -> list[object]:
    return [c.lastTransitionTime for c in status.conditions]


def test_a_transition_time_is_kept_while_the_value_is_unchanged():
    record = story(
        (create(), T0),
        (says("dns", ready=False), after(seconds=10)),
        (says("network", failing="Fatal"), after(seconds=20)),
        (update(), after(seconds=30)),
    )
    assert [T0, T0] == transitions(record.cluster.status)


def test_a_transition_time_moves_when_the_value_changes():
    ready = story(
        (create(), T0), (says(ready=True), after(seconds=10)), (says("b", ready=True), after(seconds=20))
    )
    assert [after(seconds=10)] * 2 == transitions(ready.cluster.status)
    back = story(
        (create(), T0), (says(ready=True), after(seconds=10)), (says("b", ready=False), after(seconds=20))
    )
    assert [after(seconds=20)] * 2 == transitions(back.cluster.status)


def test_status_work_moves_neither_generation_nor_version_nor_updated_at():
    born = story((create(), T0)).cluster
    worked = story(
        (create(), T0),
        (says(ready=False), after(seconds=1)),
        (None, after(minutes=40)),
        (says(ready=True), after(hours=1)),
    ).cluster
    assert (born.generation, born.resource_version, born.updated_at) == (
        worked.generation,
        worked.resource_version,
        worked.updated_at,
    )
    assert CLUSTER_ID == worked.id


MOMENTS = st.integers(0, 90 * 60 * 10**6).map(lambda micros: T0 + timedelta(microseconds=micros))
REPORTS = st.builds(
    stored,
    st.sampled_from(["dns", "network", "compute"]),
    ready=st.integers(0, 9).map(lambda draw: draw == 0),
    at=MOMENTS,
    failing=st.sampled_from([None, None, None, "Transient", "Fatal"]),
)


@given(st.lists(REPORTS, max_size=3), MOMENTS, st.lists(MOMENTS, min_size=1, max_size=20))
def test_time_changes_a_status_just_when_it_says_so(reports, at, later):
    def words(moment):
        made = aggregate(1, reports, first_report_at=since, previous=None, at=moment, policy=POLICY)
        return made.phase, made.reason, made.message

    # given a status made at some moment of reports that had come by then
    reports = [replace(report, last_updated=min(report.last_updated, at)) for report in reports]
    since = min((report.last_updated for report in reports), default=None)
    status = aggregate(1, reports, first_report_at=since, previous=None, at=at, policy=POLICY)

    # when it is asked from when on it will have other words
    moment = changes_at(status, reports, first_report_at=since, policy=POLICY)

    # then it keeps them until then, and not a moment longer
    for one in (max(at, one) for one in later):
        if moment is None or one < moment:
            assert words(at) == words(one)
    if moment is not None:
        assert at < moment
        assert words(at) == words(moment - timedelta.resolution) != words(moment)


def test_a_status_made_under_another_policy_changes_at_once():
    reports = [stored("dns", ready=False, at=T0)]
    status = aggregate(1, reports, first_report_at=T0, previous=None, at=T0, policy=POLICY)
    other = replace(POLICY, grace_period=POLICY.grace_period * 2)
    assert T0 == changes_at(status, reports, first_report_at=T0, policy=other)
