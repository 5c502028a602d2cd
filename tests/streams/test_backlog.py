"""What agents hold unacknowledged: a held partition takes no room from the others."""

from types import SimpleNamespace

from faust.types import TP

from streams.turns import backlog as module
from streams.turns.backlog import Backlog
from streams.turns.batch import Batch

ONE, OTHER = TP("in", 0), TP("in", 1)


def batch(tp: TP, count: int) -> Batch:
    return Batch(tp, [SimpleNamespace(key=b"k", value=b"v", headers=[], offset=n) for n in range(count)])


def test_it_is_full_beyond_its_bound_and_has_room_again():
    backlog, many = Backlog(), batch(ONE, module.MAX_BACKLOG + 1)
    backlog.add(ONE, many)
    assert backlog.full
    backlog.acknowledged(ONE, many)
    assert (False, False, False) == (backlog.full, bool(backlog), ONE in backlog)


def test_bytes_count_too(monkeypatch):
    monkeypatch.setattr(module, "MAX_BACKLOG_BYTES", 10)
    backlog = Backlog()
    backlog.add(ONE, batch(ONE, 6))
    assert backlog.full


def test_a_held_partition_takes_no_room_and_takes_it_again_when_it_goes_on():
    backlog, many = Backlog(), batch(ONE, module.MAX_BACKLOG + 1)
    backlog.add(ONE, many)
    backlog.hold({ONE})
    assert (False, False, True) == (backlog.full, bool(backlog), ONE in backlog)
    backlog.add(ONE, batch(ONE, 10))  # from a poll that was under way
    assert not backlog.full
    backlog.release({ONE})
    assert backlog.full
    backlog.acknowledged(ONE, many)
    assert (False, True) == (backlog.full, ONE in backlog)


def test_what_is_acknowledged_while_it_is_held_does_not_count_afterwards():
    backlog, some = Backlog(), batch(ONE, 5)
    backlog.add(ONE, some)
    backlog.hold({ONE})
    backlog.acknowledged(ONE, some)
    backlog.release({ONE})
    assert (False, False) == (bool(backlog), ONE in backlog)


def test_what_is_acknowledged_after_it_was_cleared_is_passed_over():
    backlog, some = Backlog(), batch(ONE, 5)
    backlog.add(ONE, some)
    backlog.clear()
    backlog.acknowledged(ONE, some)
    backlog.add(OTHER, batch(OTHER, 1))
    assert backlog
    assert ONE not in backlog


def test_it_is_stalled_by_what_is_not_held_alone():
    backlog = Backlog()
    backlog.add(ONE, batch(ONE, 5))
    assert backlog.stalled(after=-1.0)
    assert not backlog.stalled(after=30.0)
    backlog.hold({ONE})
    assert not backlog.stalled(after=-1.0)
    backlog.add(OTHER, batch(OTHER, 1))
    assert backlog.stalled(after=-1.0)
