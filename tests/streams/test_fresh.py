"""Reads that wait for what was in the topic when they came share questions, never an answer from before."""

import asyncio
from collections import defaultdict

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import NodeNotReadyError

from domain.errors import Unavailable
from streams.reading import fresh
from streams.reading.fresh import Freshness


class Broker:
    """Partitions that grow, and a view that follows when it is told to."""

    def __init__(self):
        self.ends = defaultdict(int)
        self.questions = []
        self.answer = asyncio.Event()
        self.answer.set()
        self.moved = asyncio.Condition()
        self.handled = defaultdict(int)
        self.fails = None

    async def where(self, partitions):
        found = {tp: self.ends[tp] for tp in partitions}
        self.questions.append(sorted(tp.partition for tp in partitions))
        await self.answer.wait()
        if self.fails is not None:
            raise self.fails
        return found

    async def reached(self, tp, offset):
        async with self.moved:
            await self.moved.wait_for(lambda: self.handled[tp] >= offset)

    async def follow(self):
        async with self.moved:
            self.handled.update(self.ends)
            self.moved.notify_all()


def tp(partition):
    return TopicPartition("state", partition)


async def reading(freshness, *partitions):
    tasks = [asyncio.create_task(freshness.caught_up("state", partition)) for partition in partitions]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_reads_of_one_round_share_a_question():
    broker = Broker()
    freshness = Freshness(broker.where, broker.reached)
    await asyncio.gather(*await reading(freshness, 0, 1, 0, 1))
    assert [[0, 1]] == broker.questions


async def test_a_read_waits_until_the_view_is_there():
    # given a write that this process has not handled
    broker = Broker()
    freshness = Freshness(broker.where, broker.reached)
    broker.ends[tp(0)] = 3
    [late, other] = await reading(freshness, 0, 1)

    # then only a read of that partition waits, and until then
    assert (False, True) == (late.done(), other.done())
    await broker.follow()
    await late


async def test_a_read_that_comes_while_a_question_is_out_gets_an_answer_of_its_own():
    # given a question that is out
    broker = Broker()
    broker.answer.clear()
    freshness = Freshness(broker.where, broker.reached)
    first = await reading(freshness, 0)

    # when a write is answered, and reads come after it
    broker.ends[tp(0)] = 1
    later = await reading(freshness, 0, 0)
    broker.answer.set()
    await asyncio.gather(*first)

    # then these ask once more, together, and wait for that write
    for _ in range(5):
        await asyncio.sleep(0)
    assert ([[0], [0]], [False, False]) == (broker.questions, [task.done() for task in later])
    await broker.follow()
    await asyncio.gather(*later)


@pytest.mark.parametrize("fails", [NodeNotReadyError(), None], ids=["an error", "silence"])
async def test_a_broker_that_does_not_say_makes_the_read_unavailable(monkeypatch, fails):
    monkeypatch.setattr(fresh, "ANSWER_WITHIN", 0.05)
    broker = Broker()
    broker.fails = fails
    if fails is None:
        broker.answer.clear()
    freshness = Freshness(broker.where, broker.reached)
    with pytest.raises(Unavailable):
        await freshness.caught_up("state", 0)

    # and the next one asks again
    broker.fails = None
    broker.answer.set()
    await freshness.caught_up("state", 0)


async def test_a_reader_that_goes_away_takes_no_other_along():
    broker = Broker()
    broker.answer.clear()
    freshness = Freshness(broker.where, broker.reached)
    [gone, stays] = await reading(freshness, 0, 0)
    gone.cancel()
    broker.answer.set()
    await stays
