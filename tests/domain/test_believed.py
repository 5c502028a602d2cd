"""Contract section 12: a moment that lies further ahead than any interval can explain is not believed."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cluster.believed import Now, ahead, believed, furthest
from domain.cluster.decide import moved_on
from domain.cluster.names import NameRecord
from domain.cluster.reactive import announce, announces_at
from domain.cluster.schedule import due, needs_attention, reconciles_at
from domain.cluster.state import TOLERANCE, PendingAnnouncement, Reactive, counted
from domain.cluster.status import aggregate
from domain.entity import KEPT_FOR, Outcome
from domain.policy import Policy
from domain.values import replace
from tests.domain.given import POLICY, T0, after, create, delete, says, step, story, ticked, update

DAY = timedelta(days=1)
NOW = Now(after(hours=3), after(hours=3))
JUST = TOLERANCE  # still believed
BEYOND = TOLERANCE + timedelta.resolution

PLAIN = story((create(), T0), (says(ready=True), T0), (None, after(hours=3)))


def updated(moment):
    return replace(PLAIN, cluster=replace(PLAIN.cluster, updated_at=moment))


def restated(moment):
    status = replace(PLAIN.cluster.status, lastUpdateTime=moment)
    return replace(PLAIN, cluster=replace(PLAIN.cluster, status=status))


def turned(moment):
    conditions = tuple(replace(c, lastTransitionTime=moment) for c in PLAIN.cluster.status.conditions)
    status = replace(PLAIN.cluster.status, conditions=conditions)
    return replace(PLAIN, cluster=replace(PLAIN.cluster, status=status))


def heard(moment):
    return replace(PLAIN, reports={"dns": replace(PLAIN.reports["dns"], last_updated=moment)})


def first_heard(moment):
    return replace(PLAIN, first_report_at=moment)


def deleted(moment):
    return replace(PLAIN, deleted_at=moment)


def reconciled(moment):
    return replace(PLAIN, schedule=replace(PLAIN.schedule, last_reconciled_at=moment))


def reconciled_next(moment):
    return replace(PLAIN, schedule=replace(PLAIN.schedule, next_reconcile_at=moment))


def sent(moment):
    return replace(PLAIN, reactive=Reactive(sent=(moment,)))


def sent_last(moment):
    return replace(PLAIN, reactive=Reactive(last={"spec": moment}))


def waiting(moment):
    return replace(PLAIN, reactive=Reactive(waiting={"spec": PendingAnnouncement(reason="x", at=moment)}))


def kept(moment):
    return replace(PLAIN, recent=("a", Outcome(command_id="b", until=moment)))


@pytest.mark.parametrize(
    ("record_with", "longest", "instead"),
    [
        pytest.param(updated, timedelta(0), NOW.at, id="the last write"),
        pytest.param(restated, timedelta(0), NOW.at, id="a status"),
        pytest.param(turned, timedelta(0), NOW.at, id="a condition"),
        pytest.param(heard, timedelta(0), NOW.at, id="a report"),
        pytest.param(first_heard, timedelta(0), NOW.at, id="the start of the grace period"),
        pytest.param(deleted, timedelta(0), NOW.at, id="a delete"),
        pytest.param(reconciled, timedelta(0), NOW.at, id="a reconcile"),
        pytest.param(reconciled_next, POLICY.stable_interval, NOW.at, id="the next reconcile"),
        pytest.param(sent, timedelta(0), NOW.at, id="an announcement of this minute"),
        pytest.param(sent_last, timedelta(0), NOW.at, id="the last announcement"),
        pytest.param(waiting, timedelta(0), NOW.at, id="a change that waits"),
        pytest.param(kept, KEPT_FOR, NOW.at + KEPT_FOR, id="an outcome"),
    ],
)
def test_what_no_interval_explains_is_now(record_with, longest, instead):
    likely, unlikely = record_with(NOW.at + longest + JUST), record_with(NOW.at + longest + BEYOND)
    assert likely is believed(likely, NOW, POLICY)
    assert record_with(instead) == believed(unlikely, NOW, POLICY)


@pytest.mark.parametrize("told", [DAY, -DAY], ids=["ticker ahead", "ticker behind"])
def test_only_what_is_ahead_of_both_clocks_is_not_believed(told):
    record = updated(NOW.at + timedelta(hours=1))
    assert (told < timedelta(0)) == ahead(record, Now(NOW.at, NOW.at + told), POLICY)


def test_a_broker_that_is_behind_changes_nothing():
    assert PLAIN is believed(PLAIN, Now(at=NOW.at - DAY, published_at=NOW.published_at), POLICY)


def test_the_creation_is_never_changed_and_its_cluster_counts_as_young_and_due():
    born = believed(story((create(), NOW.at + DAY)), NOW, POLICY)
    assert NOW.at + DAY == born.cluster.created_at
    assert needs_attention(born.cluster, NOW.at, POLICY)
    assert reconciles_at(born, POLICY) <= NOW.at
    assert due(born, NOW.at, POLICY).reason == "never_reconciled"


def test_a_controllers_own_times_stay_unless_its_report_came_under_the_fast_clock():
    report = PLAIN.reports["dns"]
    own = tuple(replace(c, lastTransitionTime=NOW.at + DAY) for c in report.conditions)
    said = replace(PLAIN, reports={"dns": replace(report, conditions=own)})
    assert said is believed(said, NOW, POLICY)
    filled_in = story((create(), T0), (says(failing="Fatal"), NOW.at + DAY))
    corrected = believed(filled_in, NOW, POLICY).reports["dns"]
    assert NOW.at == corrected.last_updated == max(corrected.last_updated, corrected.last_error.timestamp)


# --- what that makes of clusters written under a clock that was ahead ---------------------------------


def test_a_reconcile_of_tomorrow_does_not_keep_a_cluster_from_being_reconciled_today():
    fast = story((create(), T0), (says(ready=True), T0), (None, after(hours=3) + DAY))
    record, events = ticked(fast, after(hours=3, seconds=30))
    assert ["healthy_reconciliation"] == [event.reason for event in events]
    assert after(hours=3, minutes=5, seconds=30) == record.schedule.next_reconcile_at


def test_reports_count_at_once_on_a_spec_that_was_written_tomorrow():
    fast = story((create(), T0), (update(), after(hours=3) + DAY))
    record, _ = step(fast, says(generation=2, ready=True), after(hours=3, seconds=1))
    assert record.cluster.status.phase == "Ready"
    record, _ = ticked(record, after(hours=3, seconds=30))
    assert ("Ready", 1) == (record.cluster.status.phase, len(counted(record)))
    assert after(hours=3, seconds=30) == record.cluster.updated_at == record.reports["dns"].last_updated


def test_reports_count_that_were_stamped_by_a_clock_that_was_behind():
    record = story((create(), T0), (update(), after(hours=3)))
    record, _ = step(record, says(generation=2, ready=True), after(hours=3) - DAY)
    assert record.cluster.status.phase == "Ready"


def test_a_status_that_failed_tomorrow_is_looked_at_again_today():
    fast = story((create(), T0), (says(ready=False), after(minutes=1)), (None, after(minutes=2) + DAY))
    assert fast.cluster.status.phase == "Failed"
    record, _ = ticked(fast, after(minutes=3))
    assert ("Progressing", "ControllersProvisioning") == (
        record.cluster.status.phase,
        record.cluster.status.reason,
    )


def test_a_grace_period_that_began_tomorrow_ends():
    fast = story((create(), T0), (says(ready=False), T0 + DAY))
    record, _ = ticked(fast, after(seconds=30))
    record, _ = ticked(record, after(hours=1))
    assert record.cluster.status.phase == "Failed"


def test_a_change_that_waits_for_tomorrow_goes_out_after_its_debounce_time():
    policy = Policy(reactive=True)
    record = story((create(), T0), policy=policy)
    for number, at in ((2, T0 + DAY), (3, T0 + DAY + timedelta(seconds=1))):
        changed, (event,) = step(record, update(number), at, policy)
        record, _ = announce(record, changed, event, at=at, policy=policy)
    assert record.reactive.waiting
    record, _ = moved_on(record, Now(after(seconds=5), after(seconds=5)), policy)
    assert after(seconds=5) + policy.reactive_debounce == announces_at(record, policy)


@pytest.mark.parametrize(
    ("at", "told", "gone"),
    [
        pytest.param(DAY * 7, DAY * 7, True, id="both agree"),
        pytest.param(DAY * 7, DAY * 6, False, id="the broker is ahead"),
        pytest.param(DAY * 6, DAY * 7, False, id="the ticker is ahead"),
    ],
)
def test_a_cluster_is_purged_when_both_clocks_agree(at, told, gone):
    record = story((create(), T0), (delete(), T0))
    purged, _ = moved_on(record, Now(T0 + at, T0 + told), POLICY)
    assert gone == (purged is None)


def test_a_refusal_of_tomorrow_is_remembered_for_a_day_from_now():
    name = NameRecord(
        cluster_id="", command_id="", offsets={}, refused={"a": T0 + KEPT_FOR + DAY, "b": T0 + KEPT_FOR}
    )
    assert {"a": T0 + KEPT_FOR, "b": T0 + KEPT_FOR} == name.without_old(T0).refused
    assert {} == name.without_old(T0 + KEPT_FOR).without_old(T0 + 2 * KEPT_FOR).refused


# --- any story ----------------------------------------------------------------------------------------

REACTIVE = Policy(reactive=True)
happenings = st.one_of(
    st.none(),
    st.integers(0, 10**6).map(lambda number: update(10 + number)),
    st.builds(
        says,
        st.sampled_from(["dns", "net"]),
        st.integers(1, 3),
        ready=st.booleans(),
        failing=st.sampled_from([None, None, "Transient", "Fatal"]),
    ),
)
steps = st.lists(st.tuples(st.sampled_from([0, 1, 30, 200]), happenings), max_size=8)


def lived(record, what, at, told):
    """The record after one input, with what is announced of it."""
    if what is None:
        return ticked(record, at, REACTIVE, told=told)[0]
    changed, (event,) = step(record, what, at, REACTIVE)
    return announce(record, changed, event, at=at, policy=REACTIVE)[0]


@given(before=steps, window=steps, behind=steps, born_ahead=st.booleans())
def test_whatever_happens_while_a_clock_is_ahead_is_past_a_tick_later(before, window, behind, born_ahead):
    """A day ahead for a while, then right: after a tick each moment is one that the right clock explains."""
    now = T0
    record = story((create(1), now + DAY if born_ahead else now), policy=REACTIVE)
    for ahead_by, part in ((timedelta(0), before), (DAY, window), (timedelta(0), behind)):
        for seconds, what in part:
            now += timedelta(seconds=seconds)
            record = lived(record, what, now + ahead_by, told=now)

    now += timedelta(seconds=30)
    record, _ = ticked(record, now, REACTIVE)
    assert furthest(record, REACTIVE) <= now + TOLERANCE
    assert record.schedule.last_reconciled_at is not None
    assert record.schedule.next_reconcile_at <= now + REACTIVE.stable_interval
    now += timedelta(seconds=100)  # debounce times are over
    record, _ = ticked(record, now, REACTIVE)
    assert record.reactive is None or not record.reactive.waiting
    assert _words(record) == _words(_aggregated(record, now))

    # then reports count, and a cluster of which none is ready fails when its time is over
    generation = record.cluster.generation
    for controller in ("dns", "net"):
        record = lived(record, says(controller, generation, ready=False), now, told=now)
    assert {"dns", "net"} == {report.controller_name for report in counted(record)}
    record, _ = ticked(record, now + timedelta(hours=1), REACTIVE)
    assert record.cluster.status.phase == "Failed"


def _aggregated(record, at):
    status = aggregate(
        record.cluster.generation,
        counted(record),
        first_report_at=record.first_report_at,
        previous=None,
        at=at,
        policy=REACTIVE,
    )
    return replace(record, cluster=replace(record.cluster, status=status))


def _words(record):
    status = record.cluster.status
    return status.phase, status.reason, status.message
