"""Resources contract, section 1.1: what a resource may be, and how it changes."""

from datetime import timedelta

import pytest

from domain.errors import Rejected
from domain.policy import Policy
from domain.resource import Apply, Create, Delete, Resource, Update, resource_kind
from tests.domain.given import T0, after

KIND = resource_kind(Policy())


def live(*commands, at=T0):
    """The state after some commands, a second apart."""
    state = None
    for command in commands:
        for event in KIND.decide(state, command, at):
            state = KIND.evolve(state, event).counted()
        at += timedelta(seconds=1)
    return state


def create(**members):
    return Create(**{"id": "r", "command_id": "c", "name": "one"} | members)


def update(**members):
    return Update(**{"id": "r", "command_id": "u", "name": "two"} | members)


def apply(**members):
    return Apply(**{"id": "r", "command_id": "a", "name": "two"} | members)


DELETE = Delete(id="r", command_id="d")


def code(state, command):
    with pytest.raises(Rejected) as refusal:
        KIND.decide(state, command, after(minutes=1))
    return refusal.value.code


def test_a_new_resource_is_active_and_as_old_as_its_last_change():
    state = live(create())
    expected = Resource(id="r", name="one", description="", status="active", created_at=T0, updated_at=T0)
    assert (expected, 1) == (state.resource, state.version)


@pytest.mark.parametrize("status", ["active", "inactive"])
def test_a_status_that_is_given_counts(status):
    assert status == live(create(status=status)).resource.status


def test_a_name_is_stored_without_blanks_at_its_ends():
    assert "a b" == live(create(name=" a b\t")).resource.name


def test_a_put_replaces_all_but_an_absent_status():
    state = live(create(description="long", status="inactive"), update())
    resource = state.resource
    assert ("two", "", "inactive", 2) == (resource.name, resource.description, resource.status, state.version)


def test_an_identical_body_is_an_update_too():
    first, second = live(create()), live(create(), update(name="one"))
    assert (first.resource.name, 2) == (second.resource.name, second.version)
    assert second.resource.updated_at > first.resource.updated_at


def test_updated_at_grows_though_the_clock_was_set_back():
    state = live(create(), at=T0)
    (event,) = KIND.decide(state, update(), T0 - timedelta(hours=1))
    assert event.resource.updated_at > T0
    assert event.resource.created_at == T0


@pytest.mark.parametrize("make", [create, update, apply])
@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"name": ""}, id="no name"),
        pytest.param({"name": " \t"}, id="a name of blanks"),
        pytest.param({"name": "x" * 256}, id="a name that is too long"),
        pytest.param({"description": "x" * 65_537}, id="a description that is too long"),
        pytest.param({"status": ""}, id="an empty status"),
        pytest.param({"status": "deleted"}, id="a status that only an event has"),
        pytest.param({"status": "Active"}, id="a status in capitals"),
    ],
)
def test_what_is_out_of_bounds_is_refused(make, members):
    state = None if make is create else live(create())
    assert "VALIDATION_FAILED" == code(state, make(**members))


@pytest.mark.parametrize(
    "members", [{"name": "ü" * 255}, {"description": "ü" * 65_536}, {"name": " " + "x" * 255 + " "}], ids=repr
)
def test_bounds_are_counted_in_characters(members):
    assert live(create(**members)) is not None


@pytest.mark.parametrize(
    ("before", "how", "version"),
    [((), "created", 1), ((create(description="d"),), "updated", 2), ((create(), DELETE), "created", 3)],
    ids=["never there", "there", "deleted"],
)
def test_an_apply_writes_whether_there_is_one_or_not(before, how, version):
    state = live(*before)
    (event,) = KIND.decide(state, apply(), after(minutes=1))
    assert (how, "two", "") == (event.how, event.resource.name, event.resource.description)
    state = KIND.evolve(state, event).counted()
    assert (version, None) == (state.version, state.deleted_at)


def test_an_apply_that_expects_a_version_needs_one():
    assert "RESOURCE_NOT_FOUND" == code(None, apply(expected_version=1))
    assert "VERSION_MISMATCH" == code(live(create()), apply(expected_version=2))


def test_a_taken_id_is_a_conflict_even_once_deleted():
    assert "RESOURCE_CONFLICT" == code(live(create()), create(command_id="again"))
    assert "RESOURCE_CONFLICT" == code(live(create(), DELETE), create(command_id="again"))


@pytest.mark.parametrize("state", [None, live(create(), DELETE)], ids=["never there", "deleted"])
@pytest.mark.parametrize("command", [update(), update(name=""), DELETE], ids=["put", "a bad put", "delete"])
def test_what_is_not_there_is_not_found(state, command):
    assert "RESOURCE_NOT_FOUND" == code(state, command)


def test_another_version_than_expected_is_a_mismatch():
    state = live(create(), update())
    assert "VERSION_MISMATCH" == code(state, update(expected_version=1))
    assert "VERSION_MISMATCH" == code(state, Delete(id="r", command_id="d", expected_version=3))
    assert KIND.decide(state, update(expected_version=2), T0)


def test_statuses_are_the_operators_choice():
    kind = resource_kind(Policy(resource_statuses=("draft", "live")))
    (event,) = kind.decide(None, create(), T0)
    assert "draft" == event.resource.status
    with pytest.raises(Rejected, match="draft, live"):
        kind.decide(None, create(status="active"), T0)
