"""Work that somebody else does: it ends once, whatever comes late, twice or not at all."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import task, work
from domain.errors import Rejected
from domain.work import Limits, Moved, Work

T0 = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits(attempts=3)
SECOND = timedelta(seconds=1)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def of(name: str, id: str = "", **members: object) -> work.Command:
    """`of("claim", "c1")`: a command of tasks, which are the first kind of work."""
    type_ = {
        each.__name__.lower(): each
        for each in (task.Claim, task.Renew, task.Complete, task.Fail, task.Cancel, task.Conclude)
    }
    return type_[name](id="t", command_id=id or name, **members)


def decided(piece: Work, command: work.Command, seconds: float, limits: Limits = LIMITS) -> Moved:
    return work.decide(piece, command, at(seconds), key="t", limits=limits)


def claimed(seconds: float = 0.0, limits: Limits = LIMITS) -> Work:
    return decided(work.begun(T0).work, of("claim", "c"), seconds, limits).work


def code_of(piece: Work, command: work.Command, seconds: float = 1.0) -> str:
    with pytest.raises(Rejected) as refused:
        decided(piece, command, seconds)
    return refused.value.code


# --- one way through ------------------------------------------------------------------------------------


def test_a_piece_is_claimed_and_done():
    done = decided(claimed(), of("complete", claim="c", result="all"), 2)
    assert ("completed", "all", at(2)) == (done.how, done.result, done.work.ended_at)


def test_an_attempt_that_failed_comes_again_after_its_pause():
    # given an attempt that has failed
    failed = decided(claimed(), of("fail", claim="c", error="no luck"), 2)
    assert ("waiting", 2, "no luck") == (failed.how, failed.work.attempt, failed.error)

    # when its pause is over
    moment = work.wake_at(failed.work)
    assert moment is not None
    assert at(2) + SECOND / 2 <= moment <= at(2) + SECOND
    again = work.wake(failed.work, moment, key="t", limits=LIMITS)

    # then it can be claimed
    assert ("queued", 2) == (again.how, again.work.attempt)
    assert "claimed" == work.decide(again.work, of("claim", "d"), moment, key="t", limits=LIMITS).how


def test_a_permanent_failure_is_the_end():
    failed = decided(claimed(), of("fail", claim="c", error="never", permanent=True), 2)
    assert ("failed", 1, "never") == (failed.how, failed.work.attempt, failed.error)


def test_the_last_attempt_is_the_end():
    failed = decided(
        claimed(limits=Limits(attempts=1)), of("fail", claim="c", error="no"), 2, Limits(attempts=1)
    )
    assert "failed" == failed.how


# --- leases ---------------------------------------------------------------------------------------------


def test_a_heartbeat_prolongs_the_lease_until_the_time_limit():
    piece = claimed()
    assert at(20) == work.wake_at(piece)
    piece = decided(piece, of("renew", claim="c"), 5).work
    assert at(25) == work.wake_at(piece)
    piece = decided(piece, of("renew", claim="c"), 20).work
    assert at(30) == work.wake_at(piece)


@pytest.mark.parametrize(
    ("renewed_at", "error"),
    [pytest.param(None, work.LAPSED, id="gone"), pytest.param(19, work.OVERTIME, id="slow")],
)
def test_a_claim_that_lapses_makes_way_for_the_next_attempt(renewed_at, error):
    piece = claimed()
    if renewed_at is not None:
        piece = decided(piece, of("renew", claim="c"), renewed_at).work
    moment = work.wake_at(piece)
    assert moment is not None
    lapsed = work.wake(piece, moment, key="t", limits=LIMITS)
    assert ("waiting", 2, error) == (lapsed.how, lapsed.work.attempt, lapsed.error)


@pytest.mark.parametrize("late", ["complete", "fail", "renew"])
def test_what_comes_after_the_lease_changes_nothing(late):
    piece = claimed()
    lapsed = work.wake(piece, at(20), key="t", limits=LIMITS).work
    members = {"error": "late"} if late == "fail" else {}
    assert "CLAIM_LOST" == code_of(lapsed, of(late, claim="c", **members), 21)


# --- refusals -------------------------------------------------------------------------------------------


def test_only_one_claim_is_granted():
    assert "WORK_NOT_QUEUED" == code_of(claimed(), of("claim", "d"))


def test_a_pause_is_not_cut_short_by_a_claim():
    waiting = decided(claimed(), of("fail", claim="c", error="no"), 2).work
    assert "WORK_NOT_QUEUED" == code_of(waiting, of("claim", "d"), 2.1)


def test_another_claim_may_not_say_anything():
    assert "CLAIM_LOST" == code_of(claimed(), of("complete", claim="d"))


# --- cancelling -----------------------------------------------------------------------------------------


def test_what_is_queued_is_cancelled_at_once():
    assert "cancelled" == decided(work.begun(T0).work, of("cancel"), 1).how


@pytest.mark.parametrize("last", ["fail", "lapse"])
def test_what_is_claimed_is_cancelled_by_its_executor_or_by_its_lease(last):
    # given a claimed piece that somebody cancels
    piece = decided(claimed(), of("cancel"), 1).work

    # when its executor sends a heartbeat, it is told
    assert "WORK_CANCELLED" == code_of(piece, of("renew", claim="c"))

    # and when it gives up, or says nothing, then the piece has ended
    if last == "fail":
        ended = decided(piece, of("fail", claim="c", error="stopped"), 2)
    else:
        ended = work.wake(piece, at(20), key="t", limits=LIMITS)
    assert ("cancelled", work.CANCELLED) == (ended.how, ended.error)


def test_what_was_done_in_spite_of_that_is_done():
    piece = decided(claimed(), of("cancel"), 1).work
    assert "completed" == decided(piece, of("complete", claim="c"), 2).how


def test_what_has_ended_cannot_be_cancelled():
    done = decided(claimed(), of("complete", claim="c"), 2).work
    assert "WORK_ENDED" == code_of(done, of("cancel"), 3)


# --- concluding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [work.begun(T0).work, claimed()], ids=["queued", "claimed"])
@pytest.mark.parametrize(
    ("said", "expected"),
    [({"result": "large"}, ("completed", "large", "")), ({"error": "no luck"}, ("failed", "", "no luck"))],
)
def test_what_is_committed_elsewhere_has_ended_whoever_works_on_it(piece, said, expected):
    ended = decided(piece, of("conclude", **said), 1)
    assert expected == (ended.how, ended.result, ended.error)
    assert "CLAIM_LOST" == code_of(ended.work, of("complete", claim="c"), 2)
    assert "WORK_ENDED" == code_of(ended.work, of("conclude", "again"), 2)


# --- any history ----------------------------------------------------------------------------------------

steps = st.tuples(
    st.floats(0, 40),
    st.sampled_from(["claim", "renew", "complete", "fail", "give up", "cancel", "conclude", "wake"]),
    st.integers(0, 3),
)


@given(st.lists(steps, max_size=30))
def test_any_history_ends_once_and_no_attempt_is_worked_on_by_two(history):
    piece, now, ends, claims = work.begun(T0).work, 0.0, 0, []
    for number, (later, what, which) in enumerate(history):
        now += later
        before = piece
        moment = work.wake_at(piece)
        if moment is not None and moment <= at(now):  # the clock comes first
            piece = work.wake(piece, moment, key="t", limits=LIMITS).work
        elif what != "wake":
            name = "fail" if what == "give up" else what
            claim = claims[which % len(claims)] if claims else "none"
            members = {"claim": claim} if name in ("renew", "complete", "fail") else {}
            if name == "fail":
                members |= {"error": "e", "permanent": what == "give up"}
            try:
                piece = decided(piece, of(name, f"c{number}", **members), now).work
            except Rejected:
                continue
            if name == "claim":
                assert before.phase == "queued"
                claims.append(f"c{number}")
            elif name not in ("cancel", "conclude"):
                assert before.claim == claim
        ends += piece.ended and not before.ended
        assert before.attempt <= piece.attempt <= LIMITS.attempts
        assert (piece.phase == "claimed") == (piece.claim is not None)
        assert (work.wake_at(piece) is None) == (piece.phase == "queued" or piece.ended)
        if before.ended:
            assert before == piece
    assert ends <= 1
    for number in range(2 * LIMITS.attempts):  # from anywhere it ends by itself, once somebody claims it
        if piece.ended:
            break
        if piece.phase == "queued":
            piece = decided(piece, of("claim", f"last{number}"), now).work
        while (moment := work.wake_at(piece)) is not None:
            now = (moment - T0).total_seconds()
            piece = work.wake(piece, moment, key="t", limits=LIMITS).work
    assert piece.ended


@given(st.text(min_size=1), st.integers(1, 2000))
def test_a_pause_is_always_the_same_and_within_its_bounds(key, attempt):
    limits = Limits()
    found = work.pause(key, attempt, limits)
    assert found == work.pause(key, attempt, limits)
    longest = min(60.0, 2.0 ** min(attempt - 1, 30))
    assert longest / 2 <= found.total_seconds() <= longest
