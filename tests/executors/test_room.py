"""The room of an executor: no more is done at a time than may be, and no more is claimed than is of use."""

import asyncio

import pytest

from executors.room import Room

MOST = 10


async def begun(tasks):
    """How many of these have come to their end, once everything that can go on has."""
    for _ in range(50):
        await asyncio.sleep(0)
    return sum(task.done() for task in tasks)


async def enter(room, left):
    async with room.entered():
        await left.wait()


def worked(room, *, claim, work, clock):
    """A room that has seen claims and work of these lengths, in seconds, many times."""

    async def work_off():
        for _ in range(200):
            room.claimed(claim)
            async with room.place():
                clock.now += work

    return work_off()


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def room(clock):
    return Room(MOST, clock=clock)


async def test_at_first_as_many_are_claimed_as_have_places(room):
    left, entered = asyncio.Event(), []

    async def piece():
        async with room.entered():
            entered.append(1)
            await left.wait()

    tasks = [asyncio.create_task(piece()) for _ in range(MOST + 3)]
    assert 0 == await begun(tasks)
    assert MOST == len(entered)

    # when some have left, then as many come after them
    left.set()
    await asyncio.gather(*tasks)
    assert MOST + 3 == len(entered)


@pytest.mark.parametrize(
    ("claim", "work", "ahead"),
    [
        (0.03, 30.0, 0),
        (0.03, 0.6, 1),
        (0.03, 0.3, 2),
        (0.03, 0.1, 6),
        (0.03, 0.06, MOST),
        (0.03, 0.0, MOST),
        (0.0, 0.0, MOST),
        (0.0, 1.0, 0),
    ],
)
async def test_twice_as_many_are_claimed_ahead_as_become_free_meanwhile(room, clock, claim, work, ahead):
    await worked(room, claim=claim, work=work, clock=clock)
    assert ahead == room.ahead


async def test_none_is_claimed_ahead_where_that_is_not_wanted(clock):
    room = Room(MOST, ahead=False, clock=clock)
    await worked(room, claim=0.03, work=0.0, clock=clock)
    assert 0 == room.ahead


async def test_no_more_are_done_at_a_time_than_there_are_places(room, clock):
    await worked(room, claim=1.0, work=0.0, clock=clock)
    doing, most = 0, 0

    async def piece():
        nonlocal doing, most
        async with room.entered(), room.place():
            doing += 1
            most = max(most, doing)
            await asyncio.sleep(0)
            doing -= 1

    await asyncio.gather(*(piece() for _ in range(5 * MOST)))
    assert MOST == most


async def test_who_is_cancelled_before_or_after_it_may_enter_takes_no_room(room):
    left = asyncio.Event()
    tasks = [asyncio.create_task(enter(room, left)) for _ in range(MOST + 1)]
    await begun(tasks)
    tasks[-1].cancel()  # it still waits
    tasks[0].cancel()
    await begun(tasks)
    more = [asyncio.create_task(enter(room, left)) for _ in range(3)]
    await begun(more)
    more[0].cancel()
    left.set()
    await asyncio.gather(*tasks, *more, return_exceptions=True)
    again = [asyncio.create_task(enter(room, left)) for _ in range(MOST)]
    assert MOST == await begun(again)


async def test_an_end_that_is_an_error_leaves_room_too(room):
    async def piece():
        async with room.entered(), room.place():
            raise ValueError

    failed = await asyncio.gather(*(piece() for _ in range(3 * MOST)), return_exceptions=True)
    assert {ValueError} == {type(each) for each in failed}
