"""What libraries repeat is said once in a while, with its number."""

import logging

import pytest

from telemetry import repeats as module
from telemetry.repeats import MOST, SECONDS, Repeats
from tests.clock import Clock


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


def said(text="node %d is away", *args, name="aiokafka.conn"):
    return logging.LogRecord(name, logging.ERROR, "conn.py", 1, text, args or (1,), None)


def test_a_repeat_is_held_back_and_counted(clock):
    repeats = Repeats("aiokafka")

    passed = []
    for _ in range(4):
        passed.append(repeats.filter(said()))
        clock.now += SECONDS / 4
    later = said()
    passed.append(repeats.filter(later))

    assert [True, False, False, False, True] == passed
    assert 3 == later.repeated


def test_other_words_other_loggers_and_our_own_are_no_repeats(clock):
    repeats = Repeats("aiokafka")
    records = [
        said(),
        said("node %d is away", 2),
        said(name="aiokafka.consumer"),
        said(name="clusterflow.sink"),
        said(name="clusterflow.sink"),
        said(name="aiokafkaesque"),
        said(name="aiokafkaesque"),
    ]
    assert [True] * len(records) == [repeats.filter(record) for record in records]
    assert not any(hasattr(record, "repeated") for record in records)


def test_a_line_that_cannot_be_made_is_the_handlers_to_tell_of(clock):
    assert Repeats("aiokafka").filter(said("node %d is away", "one"))


def test_what_is_remembered_is_bounded(clock):
    repeats = Repeats("aiokafka")
    for number in range(3 * MOST):
        assert repeats.filter(said("node %d", number))
    assert MOST >= len(repeats._said)
