"""How much of what is due a turn takes, and when a clock knows what was recovered."""

from contextlib import suppress

import pytest

from agents import clock as clocks
from agents import wakes
from domain.cluster.state import PendingAnnouncement, Reactive
from tests.agents.due import CLUSTERS, LEAST, SLICE, Due
from tests.domain.given import T0, says
from tests.memory import CrashedError, Worker


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch):
    for name, value in {"TICK_SLICE": SLICE, "MIN_PER_TICK": LEAST}.items():
        monkeypatch.setattr(clocks, name, value)
    monkeypatch.setattr(wakes, "INDEX_SLICE", 3)


def test_the_ticks_of_a_turn_share_one_slice_and_ask_to_go_on():
    due = Due(cap=15)
    due.tick(0, 1)
    assert SLICE + LEAST == due.turn()
    assert due.worker.clock.more.is_set()
    left = [due.worker.clock.between(partition).reconcile for partition in (0, 1)]
    assert [15 - SLICE, 15 - LEAST] == left
    assert [0, 0] == [due.worker.clock.between(partition).reconcile for partition in (0, 1)], "told once"


def test_slices_end_with_the_cap():
    due = Due(cap=15)
    due.tick(0)
    announced = due.turn()
    while left := due.worker.clock.between(0).reconcile:
        due.tick(0, reconcile=left)
        announced += due.turn()
    assert 15 == announced == len(set(due.announced()))


def test_slices_end_with_the_last_that_is_due():
    due = Due(cap=1000)
    due.tick(0)
    announced, turns = due.turn(), 1
    while left := due.worker.clock.between(0).reconcile:
        due.tick(0, reconcile=left)
        announced, turns = announced + due.turn(), turns + 1
    assert (CLUSTERS, -(-CLUSTERS // SLICE)) == (announced, turns)


def test_what_time_changes_is_sliced_too_and_reconciles_go_on_beside_it():
    # given clusters whose controllers have timed out since, which are due for a reconcile besides
    due = Due(cap=15, steps=[(says(ready=False), T0)])
    due.tick(0)

    # when a tick and those it asks for are handled
    written, told, failed = [due.moved()], [len(due.announced())], [due.failed()]
    while left := due.worker.clock.between(0).reconcile:
        due.tick(0, reconcile=left)
        written.append(due.moved())
        told.append(len(due.announced()))
        failed.append(due.failed())

    # then no turn writes more than a slice, statuses move, some reconciles go on meanwhile, up to the cap
    assert max(written) <= SLICE + LEAST
    assert [SLICE, 2 * SLICE, 3 * SLICE, CLUSTERS] == failed[:4]
    assert [LEAST, 2 * LEAST, 3 * LEAST] == told[:3]
    assert 15 == told[-1] == len(set(due.announced()))


def test_the_cap_holds_while_more_moves_than_a_slice():
    due = Due(cap=3, steps=[(says(ready=False), T0)])
    due.tick(0)
    due.moved()
    while left := due.worker.clock.between(0).reconcile:
        due.tick(0, reconcile=left)
        due.moved()
    assert (3, CLUSTERS) == (len(due.announced()), due.failed())


WAITING = Reactive(
    last={"spec": T0}, waiting={"spec": PendingAnnouncement(reason="generation_increment", at=T0)}
)


def test_what_waits_to_be_announced_is_sliced_too_and_asks_to_go_on():
    due = Due(waiting=WAITING, reactive=True)
    due.tick(0, announce=True)
    announced = [due.turn()]
    assert due.worker.clock.more.is_set()
    while (between := due.worker.clock.between(0)).tick_id:
        assert between.announce_at <= due.log.now
        due.tick(0, announce=True)
        announced.append(due.turn())
    assert [SLICE, SLICE, SLICE, CLUSTERS - 3 * SLICE] == announced
    assert CLUSTERS == len(set(due.announced()))
    assert (None, "", 0) == due.worker.clock.between(0)


def test_a_tick_may_announce_a_slice_and_go_on_with_reconciles_beside_it():
    due = Due(waiting=WAITING, reactive=True)
    due.tick(0, announce=True, reconcile=15)
    announced = [due.turn()]
    while (between := due.worker.clock.between(0)).tick_id:
        due.tick(0, announce=between.announce_at is not None, reconcile=between.reconcile)
        announced.append(due.turn())
    assert max(announced) <= SLICE + LEAST
    assert CLUSTERS + 15 == sum(announced)


def test_recovered_clusters_are_indexed_a_few_at_a_time():
    # given a worker that has just recovered
    due = Due(cap=1000)
    clock = due.worker.clock
    due.worker.clusters.recovered()

    # when all are indexed, in slices
    slices = 0
    while not clock.indexed:
        clock.index_recovered()
        slices += 1

    # then there were as many as it takes in both partitions
    assert 2 * -(-CLUSTERS // 3) == slices


def test_a_tick_finds_what_was_recovered_and_not_indexed_yet():
    # given a worker that dies with the announcements of its tick published and no state stored
    due = Due(cap=1000)
    due.tick(0)
    due.worker.producer.lives = SLICE
    with suppress(CrashedError):
        due.turn()
    first = due.event_ids()
    assert SLICE == len(first)

    # when its successor is handed the same tick before it has indexed anything
    due.worker = Worker(due.log, {}, due.policy)
    due.worker.clusters.recovered()
    assert not due.worker.clock.indexed
    due.turn()

    # then it announces the same under the same ids
    assert first == due.event_ids()[SLICE:]
