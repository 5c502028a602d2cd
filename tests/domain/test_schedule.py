"""Contract section 6: when a cluster is reconciled, why, and what moves its schedule."""

from datetime import timedelta

import pytest

from domain.cluster.events import Reconciled
from domain.cluster.schedule import moves_at, reconciles_at
from domain.policy import Policy
from domain.values import replace
from tests.domain.given import (
    POLICY,
    T0,
    after,
    create,
    delete,
    says,
    step,
    story,
    update,
)

OLD = {"hours": 3}  # beyond the attention age


def reconciled(record, at, policy=POLICY):
    """The reason and interval of the reconcile a tick leads to; None without one."""
    _, events = step(record, None, at, policy)
    found = [(e.reason, e.interval) for e in events if isinstance(e, Reconciled)]
    assert len(found) <= 1
    return found[0] if found else None


ATTENTION, STABLE = timedelta(seconds=30), timedelta(minutes=5)


def test_a_schedule_is_born_with_its_cluster():
    schedule = story((create(), T0)).schedule
    assert (None, after(minutes=1), True) == (
        schedule.last_reconciled_at,
        schedule.next_reconcile_at,
        schedule.enabled,
    )


def test_a_new_cluster_is_due_at_once_because_it_was_never_reconciled():
    assert ("never_reconciled", ATTENTION) == reconciled(story((create(), T0)), T0)


def young(seconds):
    """A ready cluster, reconciled at this second of its life."""
    return story((create(), T0), (says(ready=True), T0), (None, after(seconds=seconds)))


def old(*steps, at=None):
    """A ready cluster beyond the attention age, reconciled at `at`."""
    return story((create(), T0), (says(ready=True), T0), (None, at or after(**OLD)), *steps)


FAILED = old((says(failing="Fatal"), after(hours=3, seconds=1)))


@pytest.mark.parametrize(
    ("record", "at", "expected"),
    [
        pytest.param(young(0), after(seconds=29), None, id="young: not before 30 s"),
        pytest.param(
            young(0), after(seconds=30), ("unhealthy_reconciliation", ATTENTION), id="young: at 30 s"
        ),
        pytest.param(young(0), after(seconds=90), ("unhealthy_reconciliation", ATTENTION), id="young: later"),
        pytest.param(
            story((create(), T0), (says(ready=True), T0), (None, after(hours=1, minutes=59, seconds=29))),
            after(hours=1, minutes=59, seconds=59),
            ("unhealthy_reconciliation", ATTENTION),
            id="a second before two hours still young",
        ),
        pytest.param(
            story((create(), T0), (says(ready=True), T0), (None, after(hours=1, minutes=59, seconds=30))),
            after(hours=2),
            ("healthy_reconciliation", STABLE),
            id="two hours old is stable",
        ),
        pytest.param(old(), after(hours=3, minutes=4, seconds=59), None, id="stable: not before 5 min"),
        pytest.param(
            old(), after(hours=3, minutes=5), ("healthy_reconciliation", STABLE), id="stable: at 5 min"
        ),
        pytest.param(FAILED, after(hours=3, seconds=30), None, id="failed: 30 s from when it failed"),
        pytest.param(
            FAILED,
            after(hours=3, seconds=31),
            ("unhealthy_reconciliation", ATTENTION),
            id="failed needs attention",
        ),
        pytest.param(
            old((says(ready=False), after(hours=3, seconds=1))),
            after(hours=3, minutes=1),
            None,
            id="progressing is stable: the rule asks for age and failure only",
        ),
    ],
)
def test_when_and_why(record, at, expected):
    assert expected == reconciled(record, at)


UNANSWERED = old((update(), after(hours=3, seconds=10)))  # reconciled at 3:00:00, nobody knows generation 2


@pytest.mark.parametrize(
    ("record", "at", "expected"),
    [
        pytest.param(UNANSWERED, after(hours=3, seconds=29), None, id="at most once an attention interval"),
        pytest.param(
            UNANSWERED, after(hours=3, seconds=30), ("generation_mismatch", STABLE), id="then it fires"
        ),
        pytest.param(
            story_ := old((update(), after(hours=3, seconds=10)), (None, after(hours=3, seconds=30))),
            after(hours=3, seconds=59),
            None,
            id="and not again within the interval",
        ),
        pytest.param(
            story_, after(hours=3, seconds=60), ("generation_mismatch", STABLE), id="but again after it"
        ),
        pytest.param(
            UNANSWERED,
            after(hours=3, minutes=5),
            ("healthy_reconciliation", STABLE),
            id="the interval comes first",
        ),
        pytest.param(
            old((update(), after(hours=3, seconds=10)), (says(generation=2), after(hours=3, seconds=11))),
            after(hours=3, seconds=30),
            None,
            id="answered by one controller",
        ),
        pytest.param(
            old((update(), after(hours=3, seconds=10)), (says("b", 9), after(hours=3, seconds=11))),
            after(hours=3, seconds=30),
            ("generation_mismatch", STABLE),
            id="a report from the future is no answer",
        ),
    ],
)
def test_a_generation_that_nobody_has_reported(record, at, expected):
    assert expected == reconciled(record, at)


def test_each_state_has_the_interval_of_its_setting():
    policy = Policy(
        attention_interval=timedelta(seconds=7),
        stable_interval=timedelta(seconds=11),
        default_interval=timedelta(seconds=13),
    )
    young, aged = story((create(), T0)), old()
    assert ("never_reconciled", timedelta(seconds=7)) == reconciled(young, T0, policy)
    assert ("healthy_reconciliation", timedelta(seconds=11)) == reconciled(aged, after(hours=4), policy)


def test_a_tick_that_changes_no_word_of_a_status_changes_nothing():
    """A cluster that waits is looked at by every tick; it is written when a minute more has gone."""
    waiting = story((create(), T0), (says(ready=False), T0), (None, after(seconds=1)))
    assert (waiting, ()) == step(waiting, None, after(seconds=20))
    _, events = step(waiting, None, after(seconds=40))  # due; 29 minutes are left as before
    assert ["Reconciled"] == [type(event).__name__ for event in events]


def test_never_reconciled_comes_before_all_other_reasons():
    assert reconciled(story((create(), T0), (update(), T0)), after(hours=4))[0] == "never_reconciled"


def test_an_emitted_reconcile_moves_the_schedule_by_the_interval_of_its_state():
    schedule = young(45).schedule
    assert (after(seconds=45), after(seconds=75)) == (schedule.last_reconciled_at, schedule.next_reconcile_at)
    schedule = old().schedule
    assert (after(**OLD), after(hours=3, minutes=5)) == (
        schedule.last_reconciled_at,
        schedule.next_reconcile_at,
    )


def test_failing_pulls_the_next_reconcile_to_30_s_from_now():
    assert after(hours=3, seconds=31) == FAILED.schedule.next_reconcile_at
    assert FAILED.schedule.needs_attention


def test_failing_never_pushes_the_next_reconcile_away():
    soon = old((says(failing="Fatal"), after(hours=3, minutes=4, seconds=50)))
    assert after(hours=3, minutes=5) == soon.schedule.next_reconcile_at


def test_timing_out_pulls_the_next_reconcile_forward_too():
    quiet = story((create(), T0), (None, after(hours=3)), (says(ready=False), after(hours=3)))
    quiet = replace(quiet, schedule=replace(quiet.schedule, next_reconcile_at=after(hours=9)))
    failed, _ = step(quiet, None, after(hours=3, minutes=36))
    assert failed.cluster.status.phase == "Failed"
    assert failed.schedule.next_reconcile_at <= after(hours=3, minutes=36, seconds=30)


@pytest.mark.parametrize(
    "report",
    [says(ready=False), says(ready=True), says("b", failing="Fatal"), says(generation=7)],
    ids=["not ready", "ready", "another with an error", "from the future"],
)
def test_a_report_that_does_not_fail_the_cluster_does_not_move_the_schedule(report):
    record, _ = step(young(0), report, after(seconds=10))
    assert young(0).schedule == record.schedule


def test_an_update_does_not_move_the_schedule():
    record, _ = step(old(), update(), after(hours=3, seconds=10))
    assert old().schedule == record.schedule


def test_a_deleted_cluster_is_never_reconciled():
    record = story((create(), T0), (delete(), after(seconds=1)))
    assert [None, None] == [reconciled(record, after(hours=h)) for h in (1, 100)]


# --- switches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [young(0), old(), FAILED], ids=["young", "stable", "failed"])
def test_without_adaptive_every_cluster_has_the_default_interval(record):
    policy = Policy(adaptive=False, default_interval=timedelta(minutes=7))
    at = record.schedule.next_reconcile_at
    assert ("periodic_reconciliation", timedelta(minutes=7)) == reconciled(record, at, policy)


def test_without_adaptive_a_failure_does_not_shorten_the_interval():
    policy = Policy(adaptive=False)
    at = after(**OLD)
    record = story((create(), T0), (says(ready=True), T0), (None, at), policy=policy)
    failed, _ = step(record, says(failing="Fatal"), after(hours=3, seconds=1), policy)
    assert at + policy.default_interval == failed.schedule.next_reconcile_at


def test_reconciliation_off_schedules_nothing_but_still_times_out_statuses():
    policy = Policy(reconcile_enabled=False)
    record = story((create(), T0), (says(ready=False), T0), policy=policy)
    record, events = step(record, None, after(hours=1), policy)
    assert record.cluster.status.phase == "Failed"
    assert not any(isinstance(event, Reconciled) for event in events)


def test_a_disabled_schedule_emits_nothing():
    record = story((create(), T0))
    record = replace(record, schedule=replace(record.schedule, enabled=False))
    assert reconciled(record, after(hours=5)) is None


# --- the moments from which a tick has something to do ----------------------------------------------


@pytest.mark.parametrize(
    ("record", "moment"),
    [
        pytest.param(story((create(), T0)), T0, id="new: at once"),
        pytest.param(young(0), after(seconds=30), id="young: the attention interval"),
        pytest.param(old(), after(hours=3, minutes=5), id="stable: the stable interval"),
        pytest.param(UNANSWERED, after(hours=3, seconds=30), id="unanswered: the attention interval"),
        pytest.param(story((create(), T0), (delete(), T0)), None, id="deleted: never"),
    ],
)
def test_a_record_is_reconciled_when_it_is_due(record, moment):
    assert moment == reconciles_at(record, POLICY)


@pytest.mark.parametrize(
    ("record", "moment"),
    [
        pytest.param(story((create(), T0)), None, id="new: no report to wait for"),
        pytest.param(young(0), None, id="ready: nothing to wait for"),
        pytest.param(
            story((create(), T0), (says(ready=False), T0)),
            T0 + timedelta.resolution,
            id="not ready: a whole minute less is left",
        ),
        pytest.param(
            story((create(), T0), (delete(), T0)), T0 + POLICY.delete_retention, id="deleted: its retention"
        ),
    ],
)
def test_a_record_moves_when_time_changes_it(record, moment):
    assert moment == moves_at(record, POLICY)


def test_without_schedule_nothing_is_ever_reconciled():
    assert reconciles_at(young(0), Policy(reconcile_enabled=False)) is None
