"""The droplets of a cluster, from the first to the end of the cluster (operations contract, section 5)."""

from datetime import timedelta

import pytest

from domain.errors import Rejected
from domain.members import (
    ASKED_AGAIN_AFTER,
    LOOKED_AFTER,
    MAX_MEMBERS,
    MEMBERS,
    Close,
    Join,
    Leave,
    Members,
    MembersState,
    Note,
    Open,
    Scale,
)
from tests.domain.given import CLUSTER_ID, T0, after


def join(droplet, id=CLUSTER_ID):
    return Join(id=id, command_id=f"join {droplet}", droplet=droplet)


def leave(droplet):
    return Leave(id=CLUSTER_ID, command_id=f"leave {droplet}", droplet=droplet)


OPEN = Open(id=CLUSTER_ID, command_id="o")
DELETED, UNKNOWN = (Close(id=CLUSTER_ID, command_id="c", deleted=deleted) for deleted in (True, False))


def told(*commands, state=None):
    """The state and what has happened, after some commands."""
    said = []
    for command in commands:
        for event in MEMBERS.decide(state, command, T0):
            state = MEMBERS.evolve(state, event)
            said.append(event)
    return state, said


def hows(said):
    return [event.how for event in said]


def test_the_first_droplet_has_it_ask_for_the_cluster_and_others_join():
    state, said = told(join("a"), join("b"), OPEN, join("c"))
    assert ["asked", "joined", "opened", "joined"] == hows(said)
    assert (("a", "b", "c"), True) == (state.members.droplets, state.members.known)


def test_a_droplet_that_joins_twice_is_there_once():
    state, said = told(join("a"), join("a"))
    assert (("a",), 1) == (state.members.droplets, len(said))


def test_a_droplet_that_leaves_is_not_there_any_more():
    state, _ = told(join("a"), join("b"), OPEN, leave("a"), leave("nobody"))
    assert ("b",) == state.members.droplets


@pytest.mark.parametrize(("close", "how"), [(DELETED, "deleted"), (UNKNOWN, "closed")])
def test_all_go_with_their_cluster(close, how):
    state, said = told(join("a"), join("b"), close)
    assert (how, ("a", "b")) == (said[-1].how, said[-1].droplets)
    assert state.deleted_at is not None


def test_a_droplet_that_comes_after_the_end_asks_again():
    state, said = told(join("a"), DELETED, join("b"))
    assert ["asked", "deleted", "asked"] == hows(said)
    assert (("b",), None) == (state.members.droplets, state.deleted_at)


@pytest.mark.parametrize("command", [OPEN, DELETED, UNKNOWN, leave("a")])
def test_what_nobody_waits_for_changes_nothing(command):
    assert (None, []) == told(command)


def test_an_id_that_no_cluster_has_is_not_asked_for():
    _, (event,) = told(join("a", id="nope"))
    assert ("closed", ("a",)) == (event.how, event.droplets)


def test_a_droplet_too_many_is_refused():
    droplets = tuple(f"droplet-{number}" for number in range(MAX_MEMBERS))
    members = Members(id=CLUSTER_ID, droplets=droplets, known=True, created_at=T0, updated_at=T0)
    state, (event,) = told(join("late"), state=MembersState(revision=1, members=members))
    assert ("refused", ("late",)) == (event.how, event.droplets)
    assert droplets == state.members.droplets


def test_it_asks_again_soon_while_there_is_no_answer_and_seldom_after_one():
    asked, _ = told(join("a"))
    opened, _ = told(OPEN, state=asked)
    assert [T0 + ASKED_AGAIN_AFTER, T0 + LOOKED_AFTER] == [MEMBERS.wake_at(each) for each in (asked, opened)]
    (event,) = MEMBERS.wake(opened, after(hours=6))
    assert after(hours=6) + timedelta(hours=6) == MEMBERS.wake_at(MEMBERS.evolve(opened, event))


def test_without_droplets_there_is_nothing_to_ask_for():
    state, _ = told(join("a"), OPEN, leave("a"))
    (event,) = MEMBERS.wake(state, after(hours=6))
    assert ("closed", ()) == (event.how, event.droplets)
    assert MEMBERS.evolve(state, event).deleted_at is not None


# --- larger and smaller -------------------------------------------------------------------------------


def active(droplet, *, now=True):
    return Note(id=CLUSTER_ID, command_id=f"note {droplet} {now}", droplet=droplet, active=now)


def scale(action, count=1, by="s", id=CLUSTER_ID):
    return Scale(id=id, command_id=by, action=action, count=count, region="nyc1")


def test_new_droplets_count_before_they_exist():
    state, said = told(join("a"), OPEN, scale("scale_up", 2))
    new = said[-1].droplets
    assert ("grown", 2, "nyc1") == (said[-1].how, len(new), said[-1].region)
    assert ("a", *new) == state.members.droplets
    # and when they come they are there already
    again, said = told(join(new[0]), state=state)
    assert (state, []) == (again, said)


def test_a_cluster_without_droplets_is_asked_for_when_it_grows():
    _, said = told(scale("scale_up"))
    assert ["grown", "asked"] == hows(said)


def test_the_newest_active_droplets_go():
    state, said = told(
        *map(join, "abcd"), OPEN, active("a"), active("b"), active("d"), scale("scale_down", 2)
    )
    assert ("shrunk", ("d", "b")) == (said[-1].how, said[-1].droplets)
    assert (("a", "c"), ("a",)) == (state.members.droplets, state.members.active)
    assert {"droplets": ["d", "b"]} == MEMBERS.details(said[-1:])
    assert {} == MEMBERS.details(said[:1])


@pytest.mark.parametrize(
    "before",
    [(), (join("a"), OPEN), (join("a"), active("a"), active("a", now=False)), (join("a"), DELETED)],
    ids=["nobody", "nobody active", "nobody active any more", "no cluster any more"],
)
def test_without_active_droplets_nothing_becomes_smaller(before):
    state, _ = told(*before)
    with pytest.raises(Rejected, match="no droplets to scale down"):
        told(scale("scale_down"), state=state)


def test_droplets_of_no_region_are_not_counted():
    blank = Scale(id=CLUSTER_ID, command_id="s", action="scale_up", region="  ")
    with pytest.raises(Rejected, match="region"):
        told(blank)


def test_what_is_no_cluster_does_not_grow():
    with pytest.raises(Rejected, match="cluster not found"):
        told(scale("scale_up", id="no-uuid"))


def test_a_cluster_does_not_grow_beyond_its_bound():
    droplets = tuple(map(str, range(MAX_MEMBERS - 1)))
    members = Members(id=CLUSTER_ID, droplets=droplets, known=True, created_at=T0, updated_at=T0)
    state = MembersState(revision=1, members=members)
    with pytest.raises(Rejected, match=str(MAX_MEMBERS)):
        told(scale("scale_up", 2), state=state)
    assert MAX_MEMBERS == len(told(scale("scale_up"), state=state)[0].members.droplets)


def test_a_status_is_noted_once_and_of_members_alone():
    _, said = told(join("a"), active("a"), active("a"), active("stranger"))
    assert ["asked", "noted"] == hows(said)


def test_a_droplet_that_leaves_is_not_active_any_more():
    state, _ = told(join("a"), join("b"), active("a"), leave("a"))
    assert () == state.members.active
