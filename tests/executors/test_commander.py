"""Commands of executors and their results: each is taken by who has asked, and by nobody else."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from domain.droplet import Delete
from domain.policy import Policy
from executors.commander import Commander
from streams.droplet import droplet_flow
from streams.json import encode

FLOW = droplet_flow(Policy())
DELETE = Delete(id="d", command_id="c")


class Unheard:
    """A producer whose records nobody answers by itself."""

    def __init__(self) -> None:
        self.published: list[Any] = []

    async def publish(self, outputs: list[Any]) -> None:
        self.published += outputs


def result(*, key: bytes = b"d", kind: str = "droplet", command: bytes = b"c") -> Any:
    value = encode({"command_id": command.decode(), "outcome": "applied", "kind": kind, "revision": 7})
    return SimpleNamespace(key=key, value=value, headers=[("command_id", command)])


@pytest.fixture
def commander():
    return Commander(Unheard())  # type: ignore[arg-type]


async def asked(commander: Commander, count: int = 1) -> list["asyncio.Task[Any]"]:
    """So many who ask for the same, all of them waiting."""
    tasks = [asyncio.create_task(commander.ask(FLOW, DELETE, {})) for _ in range(count)]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_the_result_of_a_command_is_given_to_who_has_asked(commander):
    (task,) = await asked(commander)
    commander.on_result(result())
    assert 7 == (await asyncio.wait_for(task, 5)).revision


@pytest.mark.parametrize("other", [result(key=b"another"), result(kind="task"), result(command=b"another")])
async def test_that_of_another_is_not(commander, other):
    (task,) = await asked(commander)
    commander.on_result(other)
    await asyncio.sleep(0)
    assert not task.done()
    commander.on_result(result())
    await asyncio.wait_for(task, 5)


async def test_two_who_ask_for_the_same_are_both_answered(commander):
    first, second = await asked(commander, 2)
    second.cancel()
    await asyncio.wait({second})
    commander.on_result(result())
    assert 7 == (await asyncio.wait_for(first, 5)).revision
    commander.on_result(result())  # too late for anybody
