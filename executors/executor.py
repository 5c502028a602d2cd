"""Takes work from the queue of a kind, has it done by handlers, and says how it ended.

A piece of work is claimed when there is room for it and nothing of its key is being done. While its handler
runs, heartbeats prolong the lease of the claim. A heartbeat that is refused ends the handler: somebody has
cancelled the work, or taken us for dead. However the handler ends, one command says so; if this process dies
before, the lease lapses and the owner of the work has it tried again.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Any, Final
from uuid import uuid4

import msgspec
from aiokafka import ConsumerRecord
from msgspec import Raw, UnsetType

from domain.entity import Command
from domain.errors import MalformedRecord, PermanentError, Rejected
from domain.work import MAX_ERROR, MAX_RESULT, OVERTIME, Limits, Renew
from executors import metrics
from executors.commander import Commander
from executors.queue import Lines, Positions
from executors.room import Room
from streams.cause import carried
from streams.headers import headers_of
from streams.reading.unpacking import unreadable
from streams.trace import trace_id
from streams.work import Queue
from streams.writing.appending import noticed

log = logging.getLogger("clusterflow.executor")

BEATS: Final = 4
"""Heartbeats in the time of a lease."""

STOPPED: Final = "The executor was stopped"


@dataclass(eq=False, slots=True)
class Held:
    """A claim of ours, as those see it who do the work.

    Attributes:
        origin: Headers of the record that it came by, which everything about it carries on.
        doing: Does the work.
        refused: Why the last heartbeat was; None while it holds.
    """

    id: str
    claim: str
    origin: Mapping[str, str]
    executor: "Executor"
    doing: "asyncio.Task[str] | None" = None
    refused: str | None = None

    async def progress(self, percent: int, message: str) -> None:
        """Say how far the work has come; raises CancelledError where it shall end, as a heartbeat does."""
        await self.executor.progressed(self, percent, message)
        await asyncio.sleep(0)  # where a cancellation reaches who has asked


Doer = Callable[[Any, Held], Coroutine[Any, Any, str]]
"""Does a piece of work under a claim; returns its result."""


def storable(text: str) -> str:
    """A text as every store takes it: PostgreSQL has no NUL."""
    return text.replace("\0", "\ufffd")


class Executor:
    """Does the work of one kind.

    Args:
        do: Does a piece, and returns its result.
        most: Pieces that are done at one time.
        ahead: Whether pieces may be claimed before there is a place for them (`executors/room.py`).
        name: Of this process, for people who look for a piece.
    """

    def __init__(
        self,
        queue: Queue,
        commander: Commander,
        do: Doer,
        *,
        limits: Limits,
        most: int,
        name: str,
        ahead: bool = True,
    ) -> None:
        self._queue = queue
        self._flow, self._kind = queue.flow, queue.flow.kind.name
        self._commander = commander
        self._do = do
        self._limits = limits
        self._name = name
        self._room = Room(most, ahead=ahead)
        self._lines = Lines()
        self._held: dict[str, Held] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._read_value: Callable[[bytes], Any] = msgspec.json.Decoder(queue.message).decode
        self._read_document: Callable[[Raw], Any] = msgspec.json.Decoder(queue.document).decode
        self.positions = Positions()

    @property
    def queue(self) -> str:
        """The topic that its work comes from."""
        return self._flow.queue

    # --- records ------------------------------------------------------------------------------------

    def take(self, record: ConsumerRecord) -> MalformedRecord | None:
        """Take over a record of the queue; return what is wrong with one that cannot be handled."""
        self.positions.read(record)
        try:
            if (why := unreadable(record)) is not None:
                raise MalformedRecord("unreadable", why)
            self._id_of(record)
        except MalformedRecord as error:
            return error
        if self._lines.join(record):
            self._begin(record)
        return None

    def _id_of(self, record: ConsumerRecord) -> str:
        """Read the id of a piece out of a record of the queue. Raises: MalformedRecord."""
        try:
            value = self._read_value(record.value or b"")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedRecord("invalid_schema", str(error)) from error
        if record.key != self._queue.key_of(value).encode():
            raise MalformedRecord("bad_key", "the key is not the one that the value calls for")
        return self._queue.id_of(value)

    def _begin(self, record: ConsumerRecord) -> None:
        task = asyncio.create_task(self._work_off(record))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work_off(self, record: ConsumerRecord) -> None:
        """Work on a record whose turn it is; then it is the next one's of its line."""
        try:
            origin = carried(headers_of(record))
            told = None
            async with self._room.entered():
                # Its partition may have gone to another executor meanwhile.
                if not self._stopping and self.positions.owns(record):
                    told = await self._work_on(record, origin)
            if told is not None:
                await self._commander.tell(self._flow, told, origin)
        except Exception:
            log.exception("a piece of work was given up", extra={"offset": record.offset})
        finally:
            if (following := self._lines.leave(record)) is not None:
                self._begin(following)

    async def _work_on(self, record: ConsumerRecord, origin: Mapping[str, str]) -> Command | None:
        """Claim a piece and do it; return what is to be said of its end, None if it is not ours to do."""
        piece = self._id_of(record)
        claim = self._queue.claim(id=piece, command_id=str(uuid4()), executor=self._name)
        began = monotonic()
        try:
            document = (await self._commander.ask(self._flow, claim, origin)).document
        except Rejected as refusal:  # it was claimed by another, or has ended, or nobody knows it
            metrics.NOT_CLAIMED.labels(self._kind, refusal.code).inc()
            self.positions.settle(record)
            return None
        self._room.claimed(monotonic() - began)
        self.positions.settle(record)
        assert not isinstance(document, UnsetType)
        async with self._room.place():
            return await self._done(self._read_document(document), claim.command_id, origin)

    # --- work ---------------------------------------------------------------------------------------

    async def _done(self, piece: Any, claim: str, origin: Mapping[str, str]) -> Command:
        """Do a piece of work; return the command that says how it ended."""
        ids = {"id": piece.id, "command_id": str(uuid4()), "claim": claim}
        if self._stopping:  # it was claimed ahead, and will be tried elsewhere
            return self._queue.fail(**ids, error=STOPPED)
        held = self._held[claim] = Held(piece.id, claim, origin, self)
        doing = held.doing = asyncio.create_task(self._do(piece, held))
        doing.add_done_callback(noticed)  # what one raises that was given up concerns nobody
        action = self._queue.action_of(piece)
        about = {"id": piece.id, "action": action, "claim": claim, "trace_id": trace_id(origin)}
        with metrics.DOING.labels(self._kind).track_inprogress():
            await asyncio.wait({doing}, timeout=self._limits.time.total_seconds())
        del self._held[claim]
        if not doing.done():
            doing.cancel()
            error, permanent = OVERTIME, False
        elif doing.cancelled():
            error, permanent = held.refused or STOPPED, False
        elif (raised := doing.exception()) is None:
            metrics.DONE.labels(self._kind, "completed").inc()
            return self._queue.complete(**ids, result=storable(doing.result())[:MAX_RESULT])
        else:
            # The error's text is for those who may read the work, and may hold what no log should.
            known = isinstance(raised, Rejected)
            error = str(raised) if known else f"{type(raised).__name__}: {raised}"
            permanent = isinstance(raised, PermanentError)
            log.warning("a handler failed", extra={**about, "error": type(raised).__name__})
        metrics.DONE.labels(self._kind, "failed").inc()
        return self._queue.fail(**ids, error=storable(error)[:MAX_ERROR], permanent=permanent)

    async def beat(self) -> None:
        """Send heartbeats for all that is being done, until cancelled."""
        pause = self._limits.lease.total_seconds() / BEATS
        while True:
            await asyncio.sleep(pause)
            await asyncio.gather(*(self._renew(held, within=pause) for held in [*self._held.values()]))

    async def _renew(self, held: Held, *, within: float) -> None:
        """Send one heartbeat; where nobody answers, others go on, and the next one tries again."""
        renew = self._queue.renew(id=held.id, command_id=str(uuid4()), claim=held.claim)
        try:
            async with asyncio.timeout(within):
                await self.say(renew, held)
        except TimeoutError:
            log.warning("a heartbeat was not answered", extra={"kind": self._kind, "id": held.id})

    async def say(self, renew: Renew, held: Held) -> None:
        """Prolong a claim of ours by a command; what is being done ends where that is refused."""
        try:
            await self._commander.ask(self._flow, renew, held.origin)
        except Rejected as refusal:
            held.refused = refusal.text
            assert held.doing is not None
            held.doing.cancel()

    async def progressed(self, held: Held, percent: int, message: str) -> None:
        """Say how far a piece has come, in kinds that show it."""
        if self._queue.progress is not None:
            say = partial(self._queue.progress, percent=percent, message=message)
            await self.say(say(id=held.id, command_id=str(uuid4()), claim=held.claim), held)

    # --- stopping -----------------------------------------------------------------------------------

    async def stop(self, within: timedelta) -> None:
        """Let what is being done end, and give up what takes longer; nothing new is begun."""
        self._stopping = True
        for _ in range(2):
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=within.total_seconds())
            for held in self._held.values():
                if held.doing is not None:
                    held.doing.cancel()
