"""Token buckets (operations contract, section 3.1)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.entity import ENTITY_ID
from domain.rates import Rate, Taken, full_after, key_of, refilled, retry_after, take

TOKENS = st.floats(0, 100)
RATES = st.builds(Rate, st.floats(1, 100), st.floats(0, 100))


def test_a_token_is_taken_where_there_is_one():
    assert Taken(True, 0.5) == take(1.5)
    assert Taken(False, 0.9) == take(0.9)


def test_there_is_no_debt_and_no_part():
    assert Taken(False, 2.0) == take(2.0, wanted=3.0)


@pytest.mark.parametrize(
    ("tokens", "seconds", "expected"),
    [
        pytest.param(0, 0.25, 0.5, id="in parts"),
        pytest.param(0, 60, 2, id="no more than it holds"),
        pytest.param(1, 0, 1, id="at once"),
        pytest.param(1, -5, 1, id="a clock that went back"),
        pytest.param(5, 0, 2, id="it has become smaller"),
    ],
)
def test_tokens_come_back_with_time(tokens, seconds, expected):
    assert expected == refilled(tokens, seconds, Rate(2, 2))


def test_at_no_rate_nothing_comes_back():
    rate = Rate(5, 0)
    assert 1 == refilled(1, 10**6, rate)
    assert full_after(1, rate) is None
    assert retry_after(0, rate) is None


@pytest.mark.parametrize(
    ("tokens", "rate", "seconds"),
    [
        pytest.param(0, Rate(3, 0.1), 10, id="ten seconds a token"),
        pytest.param(0.95, Rate(3, 0.1), 1, id="half a second is one"),
        pytest.param(0.5, Rate(3, 0.2), 3, id="rounded up"),
        pytest.param(0.0, Rate(0.5, 1), None, id="it never holds a whole one"),
    ],
)
def test_who_gets_none_is_told_when_there_is_one(tokens, rate, seconds):
    assert seconds == retry_after(tokens, rate)


@given(tokens=TOKENS, rate=RATES)
def test_after_the_time_it_says_it_is_full(tokens, rate):
    seconds = full_after(tokens, rate)
    if seconds is not None:
        assert rate.capacity == pytest.approx(refilled(tokens, seconds, rate))


@given(takes=st.lists(st.floats(0, 10), max_size=60), rate=RATES)
def test_no_more_are_taken_than_were_there_and_came(takes, rate):
    tokens, taken, passed = rate.capacity, 0, 0.0
    for pause in takes:
        tokens, passed = refilled(tokens, pause, rate), passed + pause
        allowed, tokens = take(tokens)
        taken += allowed
    assert 0 <= tokens <= rate.capacity
    assert taken <= rate.capacity + passed * rate.refill_rate + 1e-6


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("global", "jobs_create:global"),
        ("user:alice", "jobs_create:user:alice"),
        ("user:user:alice", "jobs_create:user:user:alice"),
    ],
)
def test_a_bucket_is_called_after_its_limit_and_scope(scope, expected):
    assert expected == key_of("jobs_create", scope)


@given(first=st.text(min_size=1, max_size=128), second=st.text(min_size=1, max_size=128))
def test_any_scope_has_an_id_of_its_own(first, second):
    ids = [key_of("jobs_create", f"user:{each}") for each in (first, second)]
    assert (first == second) is (ids[0] == ids[1])
    assert all(len(id) <= 100 for id in ids)


@pytest.mark.parametrize("scope", ["user:a b", "user:~c", "user:ü", f"user:{'x' * 128}"])
def test_a_scope_that_no_id_can_hold_has_a_digest(scope):
    assert re.fullmatch(ENTITY_ID, key_of("jobs_create", scope))
    assert "~" in key_of("jobs_create", scope)
