"""Buckets say whether something may be done now (operations contract, sections 3.1 and 17)."""

from domain.bucket import BUCKET, Take
from domain.values import replace
from tests.domain.given import after


def take(capacity=2.0, refill_rate=2.0):
    return Take(
        id="jobs_create:global",
        command_id="take",
        name="jobs_create",
        scope="global",
        capacity=capacity,
        refill_rate=refill_rate,
    )


def asked(state, *moments, **rate):
    """The state after somebody has asked at these seconds, and who got a token."""
    granted = []
    for seconds in moments:
        (event,) = BUCKET.decide(state, take(**rate), after(seconds=seconds))
        state = BUCKET.evolve(state, event)
        granted.append(state.bucket.granted)
    return state, granted


def test_a_new_bucket_is_full():
    state, granted = asked(None, 0)
    assert ([True], 1, 1, 0) == (granted, state.bucket.tokens, state.bucket.allowed, state.bucket.denied)


def test_two_are_there_the_third_comes_half_a_second_later():
    state, granted = asked(None, 0, 0, 0, 0.55)
    assert [True, True, False, True] == granted
    assert (3, 1) == (state.bucket.allowed, state.bucket.denied)


def test_a_record_that_seems_to_come_from_before_takes_nothing_away():
    state, granted = asked(None, 10, 0, 10)
    assert [True, True, False] == granted
    assert after(seconds=10) == state.bucket.updated_at


def test_another_configuration_counts_at_once():
    state, _ = asked(None, 0, capacity=5.0, refill_rate=0.0)
    smaller, granted = asked(state, 0, 0, capacity=1.0, refill_rate=0.0)
    assert ([True, False], 1.0) == (granted, smaller.bucket.capacity)
    _, granted = asked(smaller, 1, capacity=5.0, refill_rate=1.0)
    assert [True] == granted


def test_it_is_forgotten_once_it_is_full_again():
    state, _ = asked(None, 0, 0)
    moment = BUCKET.due_at(state)
    assert after(seconds=1) == moment
    (event,) = BUCKET.wake(state, moment)
    forgotten = BUCKET.evolve(state, event)
    assert (moment, 2.0) == (forgotten.deleted_at, forgotten.bucket.tokens)
    assert BUCKET.due_at(forgotten) > moment


def test_whoever_asks_a_forgotten_one_finds_a_full_one():
    state, _ = asked(None, 0, 0, 0)
    state = replace(state, deleted_at=after(seconds=1))
    state, granted = asked(state, 1, 1, 1)
    assert ([True, True, False], None) == (granted, state.deleted_at)
    assert after(seconds=1) == state.bucket.created_at


def test_one_that_never_fills_is_kept():
    state, _ = asked(None, 0, refill_rate=0.0)
    assert BUCKET.due_at(state) is None
    state, _ = asked(None, 0, refill_rate=1e-9)
    assert BUCKET.due_at(state) is None
