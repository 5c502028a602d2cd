"""A turn: what is decided is acknowledged in one order, and one bad record takes nothing with it."""

from types import SimpleNamespace

import pytest

from agents.guard import guarded
from domain.errors import MalformedRecord, Unavailable
from streams.headers import headers_of
from streams.topic import MAX_INPUT_BYTES
from streams.turns.turn import Here, Turn
from streams.writing.outputs import Output, RecordPosition
from tests.lanes import App, Record, Sent, Table


class Recorder(Table):
    """A table and a producer that note what happens to them, in its order."""

    def __init__(self, *, failures=0):
        super().__init__([])
        self.failures = failures

    async def begin(self, outputs):
        if self.failures:
            self.failures -= 1
            raise Unavailable("away", retry_after=0)
        self.steps += [("published", output.topic, output.value) for output in outputs]
        self.headers = {output.topic: dict(output.headers) for output in outputs}
        records = [Record(output) for output in outputs]
        for offset, record in enumerate(records):
            record.position = RecordPosition(1, offset)
        return Sent(records)

    def ack(self):
        self.steps.append(("acknowledged",))


def record(value=b"{}", **members):
    fields = {"topic": "in", "partition": 1, "offset": 7, "key": b"k", "headers": [], "timestamp": 0}
    return SimpleNamespace(**{**fields, "value": value, **members})


def turn_over(recorder, *records):
    event = SimpleNamespace(value=SimpleNamespace(records=records, partition=1), ack=recorder.ack)
    return Turn("test", [event], recorder, recorder, App().add("test"))


async def test_a_commit_has_one_order():
    recorder = Recorder()
    turn = turn_over(recorder, record())
    turn.put(1, b"k", b"new")
    turn.publish(Output("event", b"k", b"e"))
    turn.publish(Output("release", b"k", b"r", beforehand=True))
    await turn.commit()
    assert [
        ("published", "release", b"r"),
        ("published", "event", b"e"),
        ("published", "state", b"new"),
        ("stored", 1, b"new"),
        ("acknowledged",),
    ] == recorder.steps


async def test_a_state_is_written_under_the_claim_of_when_it_was_decided():
    recorder = Recorder()
    turn = turn_over(recorder, record())
    turn.put(1, b"k", b"new")
    recorder.claim = "9"
    await turn.commit()
    assert {"state": {"claim": "7"}} == recorder.headers


async def test_what_must_stand_before_it_is_told_is_stored_first_and_what_came_before_it_is_done():
    recorder = Recorder()
    turn = turn_over(recorder, record())
    turn.publish(Output("event", b"k", b"1"))
    turn.put(1, b"k", b"one")
    with turn.stored_first():
        turn.publish(Output("release", b"k", b"r", beforehand=True))
        turn.publish(Output("event", b"k", b"2"))
        turn.put(1, b"k", b"two")
        assert b"two" == turn.get(1, b"k")
    turn.publish(Output("event", b"k", b"3"))
    turn.put(1, b"k", b"three")
    await turn.commit()
    assert [b"1", b"one", b"two", b"r", b"2", b"3", b"three"] == [
        step[2] for step in recorder.steps if step[0] == "published"
    ]
    assert ("acknowledged",) == recorder.steps[-1]
    assert {b"k": b"three"} == turn.touched(1)


async def test_a_block_that_fails_leaves_what_follows_in_the_usual_order():
    recorder = Recorder()
    turn = turn_over(recorder, record())
    with pytest.raises(ValueError, match="no"), turn.stored_first():
        raise ValueError("no")
    turn.publish(Output("event", b"k", b"1"))
    turn.put(1, b"k", b"one")
    await turn.commit()
    assert [b"1", b"one"] == [step[2] for step in recorder.steps if step[0] == "published"]


async def test_what_cannot_be_published_now_is_tried_again_before_anything_else_happens():
    recorder = Recorder(failures=3)
    turn = turn_over(recorder, record())
    turn.put(1, b"k", b"new")
    turn.publish(Output("event", b"k", b"e"))
    await turn.commit()
    assert ["published", "published", "stored", "acknowledged"] == [step[0] for step in recorder.steps]


async def test_only_the_last_state_of_a_key_is_stored():
    recorder = Recorder()
    turn = turn_over(recorder, record(), record())
    for value in (b"1", b"2", b"3"):
        turn.put(1, b"k", value)
        assert value == turn.get(1, b"k")
    await turn.commit()
    assert [("published", "state", b"3"), ("stored", 1, b"3"), ("acknowledged",)] == recorder.steps


async def test_a_deleted_key_leaves_a_tombstone():
    recorder = Recorder()
    recorder.rows[1, b"k"] = b"old"
    turn = turn_over(recorder, record())
    turn.put(1, b"k", None)
    assert turn.get(1, b"k") is None
    await turn.commit()
    assert ("published", "state", None) == recorder.steps[0]


def test_state_before_the_turn_is_seen_until_it_changes():
    recorder = Recorder()
    recorder.rows[1, b"k"] = b"old"
    turn = turn_over(recorder)
    assert (b"old", None) == (turn.get(1, b"k"), turn.get(2, b"k"))


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (MalformedRecord("bad_key", "no"), "bad_key"),
        (ValueError("unexpected"), "internal_error"),
        (RecursionError(), "internal_error"),
        (KeyError("x"), "internal_error"),
    ],
    ids=repr,
)
async def test_a_record_that_cannot_be_handled_is_parked_and_the_next_one_handled(raised, reason):
    recorder = Recorder()
    bad, good = record(b"bad"), record(b"good")
    turn = turn_over(recorder, bad, good)

    def handle(here):
        if here.record is bad:
            raise raised
        here.publish(Output("event", b"k", here.record.value))

    for each in turn.records():
        guarded(Here(turn, each), handle)
    await turn.commit()
    assert [
        ("published", "in.dlq", b"bad"),
        ("published", "event", b"good"),
        ("acknowledged",),
    ] == recorder.steps


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"k", b"x" * (MAX_INPUT_BYTES - 1), []),
        (b"k" * (MAX_INPUT_BYTES - 1), b"x", []),
        (b"k", b"x", [("a", b"x" * MAX_INPUT_BYTES)]),
        (b"k", b"x", [("ü" * (MAX_INPUT_BYTES // 2), None)]),
        (b"k", b"x", [("", b"")] * (MAX_INPUT_BYTES // 2)),
    ],
    ids=["value", "key", "header", "header's name", "headers"],
)
def test_what_could_not_be_published_as_it_came_is_parked(key, value, headers):
    parked = []
    turn = SimpleNamespace(park=lambda _, error: parked.append(error.reason))
    here = Here(turn, record(value, key=key, headers=headers))
    guarded(here, lambda _: parked.append("handled"))
    assert ["too_large"] == parked


def test_a_dead_letter_says_why_and_where_from():
    outputs = []
    turn = SimpleNamespace(park=Turn.park, publish=outputs.append)
    Turn.park(turn, record(b"bad", headers=[("mine", b"1")]), MalformedRecord("invalid_schema", "x" * 5000))
    (letter,) = outputs
    assert ("in.dlq", b"k", b"bad") == (letter.topic, letter.key, letter.value)
    assert {
        "dlq_reason": "invalid_schema",
        "dlq_topic": "in",
        "dlq_partition": "1",
        "dlq_offset": "7",
    }.items() <= letter.headers.items()
    assert 0 < len(letter.headers["dlq_error"]) <= 1000


def test_headers_that_are_no_text_are_left_out():
    odd = record(headers=[("a", b"1"), ("b", b"\xff"), ("c", None), ("d", "ü".encode())])
    assert {"a": "1", "d": "ü"} == headers_of(odd)
