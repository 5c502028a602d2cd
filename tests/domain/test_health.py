"""What operators say of a cluster, and who asks about its droplets (operations contract, section 15)."""

import pytest

from domain.cluster.commands import Attach, SetHealth
from tests.domain.given import CLUSTER_ID, OWNER, STRANGER, T0, Refused, after, create, delete, story, uuid
from tests.domain.given import step as step_of


def says(health, by=OWNER):
    return SetHealth(command_id=uuid(7), cluster_id=CLUSTER_ID, user_email=by, health=health)


ATTACH = Attach(command_id=uuid(8), cluster_id=CLUSTER_ID)
LIVE = story((create(), T0))
DELETED = story((create(), T0), (delete(force=True), T0))


def step(state, command, at=after(minutes=1)):
    """The state after a command, and its event or refusal."""
    record, (event,) = step_of(state, command, at)
    return record, event


def test_what_is_said_counts_until_something_else_is():
    critical, _ = step(LIVE, says("critical"))
    warning, _ = step(critical, says("warning"), after(minutes=2))
    assert ("critical", after(minutes=1)) == (critical.health_override, critical.checked_at)
    assert ("warning", after(minutes=2)) == (warning.health_override, warning.checked_at)


def test_it_is_taken_back_by_saying_nothing():
    said, _ = step(LIVE, says("critical"))
    silent, _ = step(said, says(None), after(minutes=2))
    assert LIVE.health_override is silent.health_override
    assert after(minutes=2) == silent.checked_at


@pytest.mark.parametrize("command", [says("critical"), ATTACH])
def test_the_cluster_itself_stays_as_it_is(command):
    assert LIVE.cluster == step(LIVE, command)[0].cluster


def test_a_stranger_says_nothing():
    _, refused = step(LIVE, says("critical", by=STRANGER))
    assert isinstance(refused, Refused)
    assert "RESOURCE_NOT_FOUND" == refused.code


def test_a_cluster_remembers_that_it_has_droplets():
    assert True is step(LIVE, ATTACH)[0].attached


@pytest.mark.parametrize("state", [None, DELETED])
@pytest.mark.parametrize("command", [says("critical"), ATTACH])
def test_a_cluster_that_is_not_there_is_not_found(state, command):
    _, refused = step(state, command)
    assert "RESOURCE_NOT_FOUND" == refused.code
