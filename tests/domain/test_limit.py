"""Limits as operators configure them (operations contract, sections 3.3 and 3.6)."""

import pytest

from domain.errors import Rejected
from domain.limit import LIMIT, Configure, Delete
from domain.rates import key_of
from tests.domain.given import T0


def configure(scope="global", id=None, **members):
    given = {"command_id": "x", "name": "jobs_create", "scope": scope, **members}
    return Configure(id=id or key_of("jobs_create", scope), **given)


def after(*commands):
    state = None
    for command in commands:
        for event in LIMIT.decide(state, command, T0):
            state = LIMIT.evolve(state, event)
    return state


def delete():
    return Delete(id=key_of("jobs_create", "global"), command_id="delete")


def test_what_is_absent_stays_as_it_is():
    limit = after(configure(capacity=5.0), configure(refill_rate=0.0)).limit
    assert (5.0, 0.0) == (limit.capacity, limit.refill_rate)


def test_what_was_never_configured_is_left_to_the_wider_configuration():
    limit = after(configure(capacity=5.0)).limit
    assert limit.refill_rate is None


def test_one_that_was_deleted_begins_anew():
    state = after(configure(capacity=5.0), delete())
    assert T0 == state.deleted_at
    state = after(configure(capacity=5.0), delete(), configure(refill_rate=1.0))
    assert (None, 1.0, None) == (state.limit.capacity, state.limit.refill_rate, state.deleted_at)


def test_deleting_nothing_is_no_fault():
    assert after(delete()) is None
    assert () == LIMIT.decide(after(configure(capacity=5.0), delete()), delete(), T0)


@pytest.mark.parametrize("scope", ["user:alice", "user:user:alice", "cluster:x", "user:a b", "user:ü"])
def test_scopes_are_everybody_a_user_or_a_cluster(scope):
    assert scope == after(configure(scope, capacity=1.0)).limit.scope


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (configure("group:x", capacity=1.0), "scope"),
        (configure("user", capacity=1.0), "scope"),
        (configure("global:x", capacity=1.0), "scope"),
        (configure("user:", capacity=1.0), "scope_id"),
        (configure("user:a\nb", capacity=1.0), "scope_id"),
        (configure(f"user:{'x' * 129}", capacity=1.0), "scope_id"),
        (configure(), "capacity"),
        (configure(id="jobs_create:user:eve", capacity=1.0), "id"),
    ],
)
def test_what_cannot_be_configured_is_refused(command, field):
    with pytest.raises(Rejected) as refusal:
        LIMIT.decide(None, command, T0)
    assert ("VALIDATION_FAILED", field) == (refusal.value.code, refusal.value.details["field"])


def test_who_builds_on_another_version_is_refused():
    state = after(configure(capacity=5.0)).counted()
    with pytest.raises(Rejected) as refusal:
        LIMIT.decide(state, configure(capacity=6.0, expected_version=7), T0)
    assert "VERSION_MISMATCH" == refusal.value.code
