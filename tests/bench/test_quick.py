"""The gate asks its questions in turn, and does not fail for a machine that stood still for a moment."""

import pytest

from bench.load import LoadFailed, Unanswered
from bench.quick import PAIRS, VOID, interleaved


def probe(asked, name, answers):
    """Notes when it is asked; answers with the next of these, or raises it."""
    rest = iter(answers)

    def measure(seconds):
        asked.append(name)
        answer = next(rest)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return measure


def test_questions_are_asked_in_turn_and_the_first_round_warms_up():
    asked = []
    rounds = range(PAIRS + 1)
    pairs = interleaved({"a": probe(asked, "a", rounds), "b": probe(asked, "b", [0.5] * len(rounds))})
    assert [*"ab" * len(rounds)] == asked
    assert {"a": [1, 2, 3, 4, 5], "b": [0.5] * PAIRS} == pairs


def test_a_pair_without_an_answer_is_asked_again():
    asked = []
    pairs = interleaved({"a": probe(asked, "a", [0, 1, 2, *[Unanswered()] * VOID, 3, 4, 5])})
    assert {"a": [1, 2, 3, 4, 5]} == pairs


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        pytest.param([0, *[Unanswered("none")] * (VOID + 1), 1], Unanswered, id="too often"),
        pytest.param([0, LoadFailed("409 Conflict"), 1], LoadFailed, id="a refusal is no stall"),
    ],
)
def test_other_failures_end_it(answers, error):
    with pytest.raises(error):
        interleaved({"a": probe([], "a", answers)})
