"""Addresses are held by one droplet each, and given back (operations contract, section 1.2)."""

import pytest

from domain.address import Release, Take, address_kind
from domain.errors import Rejected
from domain.policy import Policy
from tests.domain.given import T0

KIND = address_kind(Policy(droplet_network="10.0.0.0/30"))
BLOCK = "10.0.0.0"


def take(holder, others=0, block=BLOCK):
    return Take(id=block, command_id=f"take {holder}", holder=holder, others=others)


def release(holder, address):
    return Release(id=BLOCK, command_id=f"release {holder}", holder=holder, address=address)


def told(*commands, kind=KIND):
    """The state and the events after some commands."""
    state, said = None, []
    for command in commands:
        for event in kind.decide(state, command, T0):
            state = kind.evolve(state, event)
            said.append(event)
    return state, said


def test_each_holder_gets_an_address_of_its_own():
    state, said = told(take("a"), take("b"))
    assert ["10.0.0.1", "10.0.0.2"] == [event.address for event in said]
    assert {"10.0.0.1": "a", "10.0.0.2": "b"} == state.block.held


def test_a_holder_that_asks_again_gets_the_same():
    state, said = told(take("a"), take("b"), take("a"))
    assert "10.0.0.1" == said[-1].address
    assert 2 == len(state.block.held)


def test_an_address_that_was_given_back_is_handed_out_again():
    _, said = told(take("a"), take("b"), release("a", "10.0.0.1"), take("c"))
    assert ("released", "taken", "10.0.0.1") == (said[2].how, said[3].how, said[3].address)


def test_a_full_block_says_that_there_is_none():
    _, said = told(take("a"), take("b"), take("c"))
    assert ("full", None, "c") == (said[-1].how, said[-1].ask, said[-1].holder)


def test_a_full_block_names_the_next_to_ask():
    kind = address_kind(Policy(droplet_network="10.0.0.0/23"))
    takes = [take(f"droplet-{number}") for number in range(254)]
    _, said = told(*takes, take("late", others=1), kind=kind)
    assert ("full", "10.0.1.0", 0) == (said[-1].how, said[-1].ask, said[-1].others)


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.2", "nonsense"])
def test_nobody_gives_back_what_another_holds(address):
    state, _ = told(take("a"))
    with pytest.raises(Rejected):
        KIND.decide(state, release("b", address), T0)


def test_a_release_of_a_block_that_was_never_asked_is_refused():
    with pytest.raises(Rejected):
        KIND.decide(None, release("a", "10.0.0.1"), T0)
