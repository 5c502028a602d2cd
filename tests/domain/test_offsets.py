"""What a state remembers of its inputs, and where a partition is read on."""

import pytest

from domain.offsets import Resumption, holds, life_of, noted, offset_in, resume

OLD, NEW = "reports#old", "reports#new"


def test_a_log_is_remembered_by_its_last_offset():
    assert {OLD: 7, "commands#a": 1} == noted({OLD: 3, "commands#a": 1}, OLD, 7)


def test_what_was_remembered_of_an_earlier_life_of_the_topic_goes():
    assert {"commands#a": 1, NEW: 0} == noted({OLD: 3, "reports": 9, "commands#a": 1}, NEW, 0)


@pytest.mark.parametrize(
    ("log", "offset", "then"),
    [(OLD, 3, True), (OLD, 4, False), (NEW, 0, False), ("reports", 0, False)],
    ids=str,
)
def test_only_the_log_that_is_remembered_holds_a_record(log, offset, then):
    assert then == holds({OLD: 3}, log, offset)


def test_an_offset_is_found_in_whichever_life():
    assert 3 == offset_in({OLD: 3, "commands#a": 9}, "reports")
    assert 0 == offset_in({}, "reports")


@pytest.mark.parametrize(
    ("committed", "life", "beginning", "end", "then"),
    [
        pytest.param(None, "", 5, 9, Resumption(5, "id"), id="nothing was read yet"),
        pytest.param(7, "id", 5, 9, Resumption(7, "id"), id="on where it was left"),
        pytest.param(9, "id", 5, 9, Resumption(9, "id"), id="at the end"),
        pytest.param(7, "", 5, 9, Resumption(7, "id"), id="committed by a version without lives"),
        pytest.param(7, "id~2", 5, 9, Resumption(7, "id~2"), id="a life after losses goes on"),
    ],
)
def test_a_partition_is_read_on_quietly(committed, life, beginning, end, then):
    assert then == resume("id", committed=committed, life=life, beginning=beginning, end=end)


@pytest.mark.parametrize(
    ("committed", "life", "then"),
    [
        pytest.param(7, "other", (5, "id"), id="made anew"),
        pytest.param(700, "other~3", (5, "id"), id="made anew and shorter"),
        pytest.param(10, "id", (9, "id~1"), id="lost its end"),
        pytest.param(10, "", (9, "id~1"), id="lost its end, from a version without lives"),
        pytest.param(10, "id~1", (9, "id~2"), id="lost its end again"),
        pytest.param(4, "id", (5, "id"), id="expired"),
    ],
)
def test_what_is_out_of_the_ordinary_is_told(committed, life, then):
    resumed = resume("id", committed=committed, life=life, beginning=5, end=9)
    assert then == resumed[:2]
    assert resumed.anomaly


def test_a_life_is_told_by_its_log():
    assert "id~1" == life_of(Resumption(0, "id~1").log_of("reports"))
    assert "" == life_of("reports")
