"""Operations contract, sections 1.2 and 5: what a droplet may be, and how it comes by its address."""

from datetime import timedelta

import pytest

from domain.droplet import ASKED_AGAIN_AFTER, Activate, Create, Delete, Fail, Start, Stop, droplet_kind
from domain.errors import Rejected
from domain.policy import Policy
from tests.domain.given import T0, after

KIND = droplet_kind(Policy())
GIVEN = {"id": "d", "address": "10.128.1.1", "block": "10.128.1.0"}


def create(**members):
    return Create(**{"id": "d", "command_id": "c", "name": "one", "region": "nyc3"} | members)


def activate(**members):
    return Activate(**{**GIVEN, "command_id": "a", **members})


STOP, START = Stop(id="d", command_id="s"), Start(id="d", command_id="t")
DELETE = Delete(id="d", command_id="x")
FAIL = Fail(id="d", command_id="f", reason="No address is free")


def then(state, command, at=None):
    """The state after a command, and its events."""
    events = KIND.decide(state, command, at or after(seconds=3))
    for event in events:
        state = KIND.evolve(state, event).counted()
    return state, events


def live(*commands):
    state = None
    for command in commands:
        state, _ = then(state, command, T0)
    return state


def asked(state):
    """The state and the event after it was woken."""
    (event,) = KIND.wake(state, KIND.wake_at(state))
    return KIND.evolve(state, event), event


def code(state, command):
    with pytest.raises(Rejected) as refusal:
        KIND.decide(state, command, T0)
    return refusal.value.code


def test_a_new_droplet_is_being_provisioned_with_what_it_lacks_filled_in():
    droplet = live(create(name=" one ", cluster_id="")).droplet
    assert ("one", "provisioning") == (droplet.name, droplet.status)
    assert ("s-1vcpu-1gb", "ubuntu-20-04-x64") == (droplet.size, droplet.image)
    assert (None, None, "") == (droplet.cluster_id, droplet.ip_address, droplet.provider)


@pytest.mark.parametrize(
    "members",
    [{"name": " "}, {"region": ""}, *({name: "x" * 256} for name in ("name", "region", "size", "provider"))],
)
def test_a_member_out_of_bounds_is_refused(members):
    assert "VALIDATION_FAILED" == code(None, create(**members))


def test_a_cluster_that_cannot_be_is_not_found():
    assert "CLUSTER_NOT_FOUND" == code(None, create(cluster_id="no id"))


def test_an_id_in_use_is_refused():
    assert "RESOURCE_CONFLICT" == code(live(create()), create(command_id="other"))


def test_it_asks_for_an_address_when_its_time_is_over_and_again_until_one_comes():
    state = live(create())
    assert T0 + timedelta(seconds=2) == KIND.wake_at(state)
    state, event = asked(state)
    assert ("asked", 255) == (event.how, event.others)
    assert T0 + timedelta(seconds=2) + ASKED_AGAIN_AFTER == KIND.wake_at(state)
    state, again = asked(state)
    assert event.block == again.block


def test_with_its_address_it_is_active_and_waits_for_nothing():
    state, (event,) = then(asked(live(create()))[0], activate())
    assert ("updated", "active", "10.128.1.1") == (event.how, state.droplet.status, state.droplet.ip_address)
    assert None is KIND.wake_at(state)
    assert state.droplet.updated_at > state.droplet.created_at


def test_the_same_address_a_second_time_changes_nothing():
    state, _ = then(live(create()), activate())
    assert () == tuple(KIND.decide(state, activate(command_id="again"), T0))


def test_an_address_too_many_goes_back():
    state, _ = then(live(create()), activate())
    after_it, (event,) = then(state, activate(command_id="b", address="10.128.2.1", block="10.128.2.0"))
    assert ("returned", "10.128.2.0", "10.128.2.1") == (event.how, event.block, event.address)
    assert state.droplet == after_it.droplet


def test_a_droplet_deleted_before_its_address_came_stays_deleted_and_gives_it_back():
    state, (deleted,) = then(asked(live(create()))[0], DELETE)
    assert "" == deleted.address
    late, (event,) = then(state, activate())
    assert ("returned", "10.128.1.1") == (event.how, event.address)
    assert state.deleted_at == late.deleted_at is not None


def test_a_deleted_droplet_gives_its_address_back():
    state, _ = then(live(create()), activate())
    _, (event,) = then(state, DELETE)
    assert ("deleted", "10.128.1.0", "10.128.1.1") == (event.how, event.block, event.address)


def test_without_an_address_it_has_failed_and_says_why():
    state, _ = then(asked(live(create()))[0], FAIL)
    assert ("failed", "No address is free") == (state.droplet.status, state.droplet.reason)
    assert None is KIND.wake_at(state)


def test_an_active_droplet_that_fails_gives_its_address_back():
    state, (event,) = then(live(create(), activate()), FAIL)
    assert ("failed", None) == (state.droplet.status, state.droplet.ip_address)
    assert ("10.128.1.0", "10.128.1.1") == (event.block, event.address)
    assert [] == list(KIND.decide(state, FAIL, T0))


def test_it_is_stopped_and_started_and_keeps_its_address():
    active, _ = then(live(create()), activate())
    stopped, _ = then(active, STOP)
    started, _ = then(stopped, START)
    assert ["inactive", "active"] == [each.droplet.status for each in (stopped, started)]
    assert 1 == len({each.droplet.ip_address for each in (active, stopped, started)})


@pytest.mark.parametrize(
    ("commands", "command"),
    [
        ([create()], STOP),
        ([create()], START),
        ([create(), activate()], START),
        ([create(), activate(), STOP], STOP),
    ],
)
def test_what_does_not_fit_its_status_is_refused(commands, command):
    assert "RESOURCE_CONFLICT" == code(live(*commands), command)


@pytest.mark.parametrize("command", [DELETE, STOP, activate(), FAIL])
def test_a_droplet_that_is_not_there_is_not_found(command):
    assert "RESOURCE_NOT_FOUND" == code(None, command)
