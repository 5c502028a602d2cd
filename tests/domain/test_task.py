"""Tasks: their bounds, what readers see while the work moves, and when they are forgotten."""

from datetime import UTC, datetime, timedelta
from functools import reduce

import pytest

from domain import task
from domain.errors import Rejected
from domain.policy import Policy
from domain.task import Cancel, Claim, Complete, Create, Fail, Renew, Start
from domain.work import CANCELLED, LAPSED, Limits

T0 = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
POLICY = Policy(task_limits=Limits(attempts=2), task_retention=timedelta(hours=1))
KIND = task.task_kind(POLICY)
CREATE = Create(id="t", command_id="c", resource_id="r", action="resize", metadata={"size": "large"})


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
    return Claim(id="t", command_id=id)


def complete(claim="k"):
    return Complete(id="t", command_id="d", claim=claim, result="done")


def fail(claim="k", *, permanent=False):
    return Fail(id="t", command_id="f", claim=claim, error="no luck", permanent=permanent)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("resource_id", ""),
        ("resource_id", "r" * 101),
        ("action", ""),
        ("action", "a" * 101),
        ("metadata", {str(number): "" for number in range(65)}),
        ("metadata", {"a": "ä" * 4096}),
    ],
)
def test_what_is_out_of_bounds_is_refused(member, value):
    made = Create(**{"id": "t", "command_id": "c", "resource_id": "r", "action": "a", member: value})
    with pytest.raises(Rejected) as refused:
        KIND.decide(None, made, T0)
    assert ("VALIDATION_FAILED", member) == (refused.value.code, refused.value.details["field"])


def test_bounds_are_counted_in_characters_and_those_of_metadata_in_bytes():
    made = Create(
        id="t", command_id="c", resource_id="ä" * 100, action="ä" * 100, metadata={"ab": "ä" * 4095}
    )
    (changed,) = KIND.decide(None, made, T0)
    assert made.resource_id == changed.task.resource_id


def test_a_new_task_is_pending_and_has_what_was_asked_for():
    new = after(CREATE)
    assert ("pending", 1, "", "", {"size": "large"}, T0, T0) == (
        new.task.status, new.task.attempt, new.task.result, new.task.error, new.task.metadata,
        new.task.created_at, new.task.updated_at,
    )  # fmt: skip
    assert "c" == new.source


def test_its_source_is_the_event_that_has_started_it():
    start = Start(id="t", command_id="c", resource_id="r", action="resize", source="e")
    assert "e" == after(start).source


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([claim()], ("processing", 1, "", "")),
        ([claim(), Renew(id="t", command_id="n", claim="k")], ("processing", 1, "", "")),
        ([claim(), complete()], ("completed", 1, "done", "")),
        ([claim(), fail()], ("pending", 2, "", "no luck")),
        ([claim(), fail(), None], ("pending", 2, "", "no luck")),
        ([claim(), fail(), None, claim("l")], ("processing", 2, "", "no luck")),
        ([claim(), fail(), None, claim("l"), complete("l")], ("completed", 2, "done", "")),
        ([claim(), fail(), None, claim("l"), fail("l")], ("failed", 2, "", "no luck")),
        ([claim(), fail(permanent=True)], ("failed", 1, "", "no luck")),
        ([claim(), None], ("pending", 2, "", LAPSED)),
        ([Cancel(id="t", command_id="x")], ("failed", 1, "", CANCELLED)),
        ([claim(), Cancel(id="t", command_id="x")], ("processing", 1, "", "")),
        ([claim(), Cancel(id="t", command_id="x"), fail()], ("failed", 1, "", CANCELLED)),
    ],
)
def test_a_status_follows_the_work(steps, expected):
    shown = after(CREATE, *steps).task
    assert expected == (shown.status, shown.attempt, shown.result, shown.error)


def test_updated_at_grows_though_the_clock_was_set_back():
    state = after(CREATE)
    (changed,) = KIND.decide(state, claim(), T0 - timedelta(hours=1))
    assert changed.task.updated_at > T0


@pytest.mark.parametrize("ended", [complete(), fail(permanent=True)])
def test_what_has_ended_is_forgotten_after_its_retention(ended):
    state = after(CREATE, claim(), ended)
    assert KIND.due_at(state) == T0 + timedelta(hours=1, seconds=2)
    assert after(None, state=state).deleted_at == KIND.due_at(state)


def test_an_id_is_used_once():
    with pytest.raises(Rejected, match="taken"):
        KIND.decide(after(CREATE, claim(), complete()), CREATE, T0)


@pytest.mark.parametrize("command", [claim(), complete(), fail(), Cancel(id="t", command_id="x")])
def test_what_is_not_there_is_not_found(command):
    with pytest.raises(Rejected) as refused:
        KIND.decide(None, command, T0)
    assert "RESOURCE_NOT_FOUND" == refused.value.code
