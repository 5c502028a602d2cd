"""Jobs: what may be asked for, and what readers see while the work moves (operations contract, section 4)."""

import json
from datetime import UTC, datetime, timedelta
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import job
from domain.errors import Rejected
from domain.job import Cancel, Claim, Complete, Create, Fail, Progress, Renew, scaling_of, text_of
from domain.policy import Policy
from domain.values import replace
from domain.work import CANCELLED, LAPSED, pause

T0 = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
POLICY = Policy(job_limits=replace(Policy().job_limits, attempts=2), job_retention=timedelta(hours=1))
KIND = job.job_kind(POLICY)
CREATE = Create(id="j", command_id="c", job_type="provision", cluster_id="k")


def after(*steps, state=None):
    """The state after commands and wakes, a second apart; None among them is a wake at its moment."""
    for number, step in enumerate(steps):
        if step is None:
            events = KIND.wake(state, KIND.due_at(state))
        else:
            events = KIND.decide(state, step, T0 + timedelta(seconds=number))
        state = reduce(KIND.evolve, events, state)
    return state


def claim(id="k"):
    return Claim(id="j", command_id=id)


def progress(percent, message="", claim="k"):
    return Progress(id="j", command_id="p", claim=claim, percent=percent, message=message)


def complete(claim="k"):
    return Complete(id="j", command_id="d", claim=claim, result="{}")


def fail(claim="k", *, permanent=False):
    return Fail(id="j", command_id="f", claim=claim, error="no luck", permanent=permanent)


CANCEL = Cancel(id="j", command_id="x")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], ("queued", 0, 0, "", "")),
        ([claim()], ("processing", 5, 1, "", "")),
        ([claim(), Renew(id="j", command_id="n", claim="k")], ("processing", 5, 1, "", "")),
        ([claim(), progress(30, "half way")], ("processing", 30, 1, "half way", "")),
        ([claim(), progress(30, "half way"), progress(10)], ("processing", 30, 1, "half way", "")),
        ([claim(), progress(-7)], ("processing", 5, 1, "", "")),
        ([claim(), progress(100, "all")], ("completed", 100, 1, "all", "")),
        ([claim(), progress(2**31 - 1)], ("completed", 100, 1, "", "")),
        ([claim(), progress(30, "half way"), complete()], ("completed", 100, 1, "{}", "")),
        ([claim(), progress(30, "half way"), fail()], ("queued", 30, 1, "half way", "no luck")),
        ([claim(), progress(30), fail(), None], ("queued", 30, 1, "", "no luck")),
        ([claim(), progress(30), fail(), None, claim("l")], ("processing", 30, 2, "", "no luck")),
        ([claim(), fail(), None, claim("l"), complete("l")], ("completed", 100, 2, "{}", "")),
        ([claim(), fail(), None, claim("l"), fail("l")], ("failed", 5, 2, "", "no luck")),
        ([claim(), progress(60), fail(permanent=True)], ("failed", 60, 1, "", "no luck")),
        ([claim(), None], ("queued", 5, 1, "", LAPSED)),
        ([CANCEL], ("cancelled", 0, 0, "", CANCELLED)),
        ([claim(), CANCEL], ("processing", 5, 1, "", "")),
        ([claim(), CANCEL, fail()], ("cancelled", 5, 1, "", CANCELLED)),
        ([claim(), CANCEL, complete()], ("completed", 100, 1, "{}", "")),
    ],
)
def test_a_status_follows_the_work(steps, expected):
    shown = after(CREATE, *steps).job
    assert expected == (shown.status, shown.progress, shown.attempts, shown.result, shown.error)
    assert (shown.completed_at is not None) is (shown.status in ("completed", "failed", "cancelled"))


@pytest.mark.parametrize("end", [complete(), fail(permanent=True)])
@pytest.mark.parametrize("late", [claim("l"), progress(50), complete(), fail(), CANCEL])
def test_nothing_leaves_an_end(end, late):
    with pytest.raises(Rejected) as refused:
        after(late, state=after(CREATE, claim(), end))
    assert refused.value.code in ("WORK_NOT_QUEUED", "CLAIM_LOST", "WORK_ENDED")


def test_who_has_lost_the_claim_reports_nothing():
    state = after(CREATE, claim(), fail(), None, claim("l"))
    with pytest.raises(Rejected, match="claim"):
        after(progress(50, claim="k"), state=state)


def test_who_reports_learns_that_the_job_shall_end():
    with pytest.raises(Rejected) as refused:
        after(CREATE, claim(), CANCEL, progress(50))
    assert "WORK_CANCELLED" == refused.value.code


def test_a_report_prolongs_the_lease():
    before, later = after(CREATE, claim()), after(CREATE, claim(), progress(50))
    assert later.work.lease_until > before.work.lease_until


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 4), (3, 16), (4, 16)])
def test_pauses_are_those_of_the_contract(attempt, seconds):
    assert timedelta(seconds=seconds) == pause("j", attempt, Policy().job_limits)


@pytest.mark.parametrize(
    ("parameters", "cluster_id", "expected"),
    [
        ({"cluster_id": "a"}, None, "a"),
        ({"cluster_id": "a"}, "b", "a"),
        ({"cluster_id": None}, "b", "b"),
        ({"cluster_id": ""}, "b", "b"),
        (None, "b", "b"),
    ],
)
def test_the_cluster_among_the_parameters_goes_first(parameters, cluster_id, expected):
    create = Create(
        id="j", command_id="c", job_type="provision", parameters=parameters, cluster_id=cluster_id
    )
    assert expected == after(create).job.cluster_id


def test_parameters_are_kept_as_a_text():
    parameters = {"cluster_id": "ä", "count": 2, "share": 0.5, "dry": True, "note": None}
    new = after(Create(id="j", command_id="c", job_type="provision", parameters=parameters)).job
    assert parameters == json.loads(new.parameters) == job.parameters_of(new)
    assert {} == job.parameters_of(after(CREATE).job)


def test_a_job_has_a_trace_whoever_asks_for_it():
    given = after(replace(CREATE, trace_id="0af76519-16cd-43dd-8448-eb211c80319c")).job.trace_id
    assert "0af76519-16cd-43dd-8448-eb211c80319c" == given
    assert 36 == len(after(CREATE).job.trace_id)
    assert after(CREATE).job.trace_id == after(CREATE).job.trace_id


def test_a_trace_of_zeros_is_none():
    zeros = "00000000-0000-0000-0000-000000000000"
    assert zeros != after(replace(CREATE, trace_id=zeros)).job.trace_id


@pytest.mark.parametrize(
    "command",
    [
        progress(50, "a\0b"),
        Complete(id="j", command_id="d", claim="k", result="a\0b"),
        Fail(id="j", command_id="f", claim="k", error="a\0b"),
    ],
)
def test_what_no_store_takes_is_refused(command):
    with pytest.raises(Rejected, match=r"U\+0000"):
        after(CREATE, claim(), command)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, ("scale_up", 1)),
        ({"action": "", "count": ""}, ("scale_up", 1)),
        ({"action": "scale_down", "count": 10}, ("scale_down", 10)),
        ({"count": "3"}, ("scale_up", 3)),
    ],
)
def test_what_to_scale_is_read_as_forms_send_it(parameters, expected):
    scaling = scaling_of(parameters)
    assert expected == (scaling.action, scaling.count)


@pytest.mark.parametrize("count", [0, 11, -1, 1.5, "1.5", "³", "11", "9" * 5000, True])
def test_what_cannot_be_scaled_by_is_refused(count):
    with pytest.raises(Rejected, match="count"):
        scaling_of({"count": count})


@pytest.mark.parametrize(("given", "text"), [(None, "x"), ("", "x"), ("a", "a"), (7, "7"), (False, "False")])
def test_a_parameter_is_a_text(given, text):
    assert text == text_of({"name": given}, "name", "x")


_steps = st.lists(
    st.one_of(
        st.sampled_from(["k", "l"]).map(claim),
        st.builds(progress, st.integers(-200, 200), st.text(max_size=3), st.sampled_from(["k", "l"])),
        st.sampled_from(["k", "l"]).map(complete),
        st.builds(fail, st.sampled_from(["k", "l"]), permanent=st.booleans()),
        st.just(CANCEL),
        st.none(),
    ),
    max_size=12,
)


@given(_steps)
def test_progress_never_falls_and_an_end_is_the_end(steps):
    state = after(CREATE)
    for step in steps:
        before = state.job
        if step is None and (KIND.due_at(state) is None or state.work.ended):
            continue
        try:
            state = after(step, state=state)
        except Rejected:
            continue
        assert before.completed_at is None
        assert before.progress <= state.job.progress <= 100
        assert (state.job.progress == 100) is (state.job.status == "completed")
        assert state.job.status != "failed" or state.job.error


def test_what_has_ended_is_forgotten_after_its_retention():
    state = after(CREATE, claim(), complete())
    assert KIND.due_at(state) == T0 + timedelta(hours=1, seconds=2)
    assert after(None, state=state).deleted_at == KIND.due_at(state)
