"""A seed is a plan: the same one twice, another for another seed, and every kind of fault in each."""

import pytest

from tests.chaos.fleet import WEBS
from tests.chaos.inject import EVERY_KIND
from tests.chaos.plan import BROKER_KINDS, KINDS, Plan, draw


def kinds_of(plan: Plan) -> list[str]:
    return [fault.kind for faults in plan.faults.values() for fault in faults]


@pytest.mark.parametrize("brokers", [1, 3])
def test_a_seed_gives_the_same_plan_again(brokers: int) -> None:
    assert draw(7, rounds=2, brokers=brokers) == draw(7, rounds=2, brokers=brokers)


def test_another_seed_gives_another_plan() -> None:
    assert draw(7).faults != draw(8).faults


def test_every_kind_of_fault_comes_once_a_round() -> None:
    plan = draw(7, rounds=3)

    assert sorted(kinds_of(plan)) == sorted(3 * [kind.name for kind in KINDS])
    assert plan.count == 3 * len(KINDS)


def test_every_kind_of_fault_can_be_done() -> None:
    assert {kind.name for kind in (*KINDS, *BROKER_KINDS)} == EVERY_KIND.keys()


def test_three_brokers_get_every_kind_of_theirs_and_half_of_the_others() -> None:
    plan = draw(7, rounds=2, brokers=3)

    theirs = {kind.name for kind in BROKER_KINDS}
    assert sorted(kind for kind in kinds_of(plan) if kind in theirs) == sorted(2 * [*theirs])
    assert plan.count == 2 * (len(theirs) + len(KINDS) // 2)


def test_the_others_differ_from_seed_to_seed() -> None:
    assert {*kinds_of(draw(7, brokers=3))} != {*kinds_of(draw(8, brokers=3))}


def test_one_broker_gets_none_that_take_several() -> None:
    with pytest.raises(ValueError, match="no such fault: pause-leader"):
        draw(7, only=["pause-leader"])


def test_a_broker_is_silent_for_as_long_as_is_asked() -> None:
    plan = draw(7, rounds=20, brokers=3, silence=9.0, only=["pause-leader"])

    assert min(fault.seconds for fault in plan.faults["main"]) >= 9.0


def test_a_paused_worker_sleeps_longer_than_its_session() -> None:
    plan = draw(7, rounds=20, session=4.0, only=["pause-worker"])

    assert min(fault.seconds for fault in plan.faults["main"]) > 4.0


def test_what_the_machine_cannot_do_is_left_out_and_named() -> None:
    plan = draw(7, offers=())

    assert plan.left_out == ("full-disk", "step-clock")
    assert {*kinds_of(plan)} == {kind.name for kind in KINDS} - {"full-disk", "step-clock"}


def test_a_fault_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no such fault: earthquake"):
        draw(7, only=["earthquake"])


def test_every_web_process_is_met() -> None:
    plan = draw(7, rounds=20, only=["kill-web"])

    assert {fault.target for fault in plan.faults["main"]} == {*range(WEBS)}
