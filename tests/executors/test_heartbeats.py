"""Heartbeats: a piece whose owner does not answer keeps no other piece from being renewed."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

from domain.entity import Command
from domain.errors import Rejected
from domain.job import Renew
from domain.policy import Policy
from domain.work import Limits
from executors.executor import Executor, Held
from streams.job import job_flow, job_queue
from tests.conftest import until

FLOW = job_flow(Policy())


class Owners:
    """A commander that notes what is renewed; nobody answers for one piece, and the claim of one is lost."""

    def __init__(self, silent: str = "", refused: str = "") -> None:
        self.renewed = Counter[str]()
        self._silent, self._refused = silent, refused

    async def ask(self, flow: Any, command: Command, origin: Any) -> None:
        assert isinstance(command, Renew)
        self.renewed[command.id] += 1
        if command.id == self._silent:
            await asyncio.Event().wait()
        if command.id == self._refused:
            raise Rejected("CLAIM_LOST", "This claim does not hold the work any more")


async def nothing(piece: Any, held: Held) -> str:
    return ""


def doing(owners: Owners, *ids: str) -> tuple[Executor, dict[str, "asyncio.Task[str]"]]:
    """An executor that is doing these pieces, and what does them."""
    limits = Limits(lease=timedelta(seconds=0.2))
    commander: Any = owners
    executor = Executor(job_queue(FLOW), commander, nothing, limits=limits, most=9, name="here")
    tasks = {id: asyncio.create_task(asyncio.sleep(60, "")) for id in ids}
    for id, task in tasks.items():
        executor._held[id] = Held(id, f"claim of {id}", {}, executor, task)
    return executor, tasks


async def test_one_that_is_not_answered_stops_no_other():
    owners = Owners(silent="silent")
    executor, tasks = doing(owners, "silent", "healthy")
    beating = asyncio.create_task(executor.beat())

    async def renewed_often() -> bool:
        return owners.renewed["healthy"] >= 3 and owners.renewed["silent"] >= 3

    await until(renewed_often, within=20, what="heartbeats of both")
    assert not any(task.done() for task in tasks.values())
    for task in (beating, *tasks.values()):
        task.cancel()


async def test_one_that_is_refused_ends_its_piece_alone():
    executor, tasks = doing(Owners(refused="lost"), "lost", "ours")
    beating = asyncio.create_task(executor.beat())
    await asyncio.wait({tasks["lost"]}, timeout=20)
    assert (True, False) == (tasks["lost"].cancelled(), tasks["ours"].done())
    for task in (beating, *tasks.values()):
        task.cancel()
