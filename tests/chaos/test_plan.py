"""A seed is a plan: the same one twice, another for another seed, and every kind of fault in each."""

import pytest

from tests.chaos.faults import DOING
from tests.chaos.plan import KINDS, draw


def test_a_seed_gives_the_same_plan_again() -> None:
    assert draw(7, rounds=2) == draw(7, rounds=2)


def test_another_seed_gives_another_plan() -> None:
    assert draw(7).faults != draw(8).faults


def test_every_kind_of_fault_comes_once_a_round() -> None:
    plan = draw(7, rounds=3)

    kinds = [fault.kind for faults in plan.faults.values() for fault in faults]
    assert sorted(kinds) == sorted(3 * [kind.name for kind in KINDS])
    assert plan.count == 3 * len(KINDS)


def test_every_kind_of_fault_can_be_done() -> None:
    assert {kind.name for kind in KINDS} == DOING.keys()


def test_a_paused_worker_sleeps_longer_than_its_session() -> None:
    plan = draw(7, rounds=20, session=4.0, only=["pause-worker"])

    assert min(fault.seconds for fault in plan.faults["main"]) > 4.0


def test_what_the_machine_cannot_do_is_left_out_and_named() -> None:
    plan = draw(7, offers=())

    kinds = {fault.kind for faults in plan.faults.values() for fault in faults}
    assert plan.left_out == ("full-disk", "step-clock")
    assert kinds == {kind.name for kind in KINDS} - {"full-disk", "step-clock"}


def test_a_fault_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no such fault: earthquake"):
        draw(7, only=["earthquake"])
