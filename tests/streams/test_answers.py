"""Which state answers a command or report, and where a result does."""

import gc
import weakref
from functools import partial
from types import SimpleNamespace

import pytest

from streams.turns.commit import MAX_ANSWERS, Answer
from streams.turns.turn import Turn
from streams.writing.outputs import Output, wire_headers
from tests.lanes import App, SilentProducer, Table


def turn_over(producer: SilentProducer) -> Turn[bytes]:
    event = SimpleNamespace(value=SimpleNamespace(records=[], partition=0), ack=lambda: None)
    return Turn("test", [event], Table([]), producer, App().add("test"))


def answer(id: str, *, own_state: bool = True) -> Answer:
    result = partial(Output, "results", b"k", id.encode(), partition=0)
    return Answer(id, result, own_state)


def published(producer: SilentProducer) -> list[tuple[str, list[str]]]:
    """What was published, in its order: results by their ids, states with the ids that they answer."""
    outputs = [output for call in producer.published for output in call]
    return [
        (
            (output.value or b"").decode(),
            [(value or b"").decode() for name, value in wire_headers(output) if name == "answers"],
        )
        for output in outputs
    ]


async def test_a_state_answers_the_command_that_led_to_it():
    # given
    producer = SilentProducer()
    turn = turn_over(producer)

    # when
    turn.put(0, b"k", b"one", answer("a"))
    turn.put(0, b"j", b"other")
    await turn.commit()

    # then
    assert [("one", ["a"]), ("other", [])] == published(producer)


async def test_a_committed_turn_is_freed_without_a_search_for_cycles():
    # given a turn with an answer whose result holds the turn
    turn = turn_over(SilentProducer())
    turn.put(0, b"k", b"one", Answer("a", partial(turn.get, 0, b"k")))  # type: ignore[arg-type]
    gone = weakref.ref(turn)

    # when it is committed, and nobody searches
    gc.disable()
    try:
        await turn.commit()
        del turn

        # then nothing of it is left
        assert gone() is None
    finally:
        gc.enable()


async def test_a_command_whose_state_is_replaced_in_the_turn_gets_a_result_before_it():
    producer = SilentProducer()
    turn = turn_over(producer)
    turn.put(0, b"k", b"one", answer("a"))
    turn.put(0, b"k", b"two", answer("b"))
    turn.put(0, b"k", b"three")
    turn.put(0, b"k", b"four", answer("c"))
    await turn.commit()
    assert [("a", []), ("b", []), ("four", ["c"])] == published(producer)


async def test_any_later_state_answers_a_report():
    producer = SilentProducer()
    turn = turn_over(producer)
    turn.put(0, b"k", b"one", answer("report", own_state=False))
    turn.put(0, b"k", b"two", answer("command"))
    turn.put(0, b"k", b"three", answer("last report", own_state=False))
    await turn.commit()
    assert [("command", []), ("three", ["report", "last report"])] == published(producer)


async def test_a_state_answers_a_bounded_number_of_reports():
    producer = SilentProducer()
    turn = turn_over(producer)
    ids = [str(number) for number in range(MAX_ANSWERS + 2)]
    for id in ids:
        turn.put(0, b"k", b"state", answer(id, own_state=False))
    await turn.commit()
    assert [("0", []), ("1", []), ("state", ids[2:])] == published(producer)


async def test_what_is_stored_first_is_answered_by_a_result_after_its_events():
    # given a decision that is stored before it is published
    producer = SilentProducer()
    turn = turn_over(producer)
    turn.put(0, b"k", b"before", answer("a"))

    # when
    with turn.stored_first():
        turn.publish(Output("events", b"k", b"event", partition=0))
        turn.put(0, b"k", b"first", answer("b"))
    turn.put(0, b"k", b"after", answer("c"))
    await turn.commit()

    # then its sender learns of it after everyone else
    assert [("before", ["a"]), ("first", []), ("event", []), ("b", []), ("after", ["c"])] == published(
        producer
    )


@pytest.mark.parametrize("own_state", [True, False])
async def test_a_state_answers_once_however_often_it_is_written(own_state):
    producer = SilentProducer()
    turn = turn_over(producer)
    turn.put(0, b"k", b"one", answer("a", own_state=own_state))
    await turn.commit()
    again = turn_over(producer)
    again.put(0, b"k", b"two")
    await again.commit()
    assert [("one", ["a"]), ("two", [])] == published(producer)
