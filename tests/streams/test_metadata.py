"""Which of two answers about the cluster is the older one, and what aiokafka is given of them."""

from types import SimpleNamespace

import pytest

from streams.kafka.metadata import Epochs, as_version_5


def answer(*, topic="id-1", leader=1, epoch=5):
    return SimpleNamespace(
        brokers=[(1, "a", 9092, None, {}), (2, "b", 9092, "r", {})],
        controller_id=2,
        topics=[(0, "t", topic, False, [(0, 3, leader, epoch, [1, 2], [2], [1], {})], 0, {})],
    )


@pytest.mark.parametrize(
    ("later", "outdated"),
    [
        pytest.param(answer(epoch=4), True, id="an earlier leader"),
        pytest.param(answer(epoch=5), False, id="the same"),
        pytest.param(answer(epoch=6), False, id="its successor"),
        pytest.param(answer(epoch=0, topic="id-2"), False, id="another topic of that name"),
        pytest.param(answer(epoch=-1), False, id="no epoch"),
    ],
)
def test_an_answer_is_outdated_that_names_an_earlier_leader(later, outdated):
    epochs = Epochs()
    epochs.note(answer(epoch=5))
    epochs.note(answer(epoch=-1))
    assert outdated == epochs.outdated(later)


def test_nothing_is_outdated_at_first():
    assert not Epochs().outdated(answer(epoch=0))


def test_aiokafka_is_given_what_it_knows():
    given = as_version_5(answer())
    assert (5, 2) == (given.API_VERSION, given.controller_id)
    assert [(1, "a", 9092, None), (2, "b", 9092, "r")] == given.brokers
    assert [(0, "t", False, [(0, 3, 1, [1, 2], [2], [1], {})])] == given.topics
