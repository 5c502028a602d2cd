"""Takes work from the queue of a kind, has it done by handlers, and says how it ended.

A piece of work is claimed when there is room for it and nothing of its key is being done. While its handler
runs, heartbeats prolong the lease of the claim. A heartbeat that is refused ends the handler: somebody has
cancelled the work, or taken us for dead. However the handler ends, one command says so; if this process dies
before, the lease lapses and the owner of the work has it tried again.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any, Final
from uuid import uuid4

import msgspec
from aiokafka import ConsumerRecord
from msgspec import Raw, UnsetType

from domain.entity import Command
from domain.errors import MalformedRecord, PermanentError, Rejected
from domain.work import MAX_ERROR, MAX_RESULT, OVERTIME, Limits
from executors import metrics
from executors.commander import Commander
from executors.handlers import Handler, called
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
class _Held:
    """A claim of ours.

    Attributes:
        doing: Runs its handler.
        origin: Headers of the record that it came by, which everything about it carries on.
        refused: Why the last heartbeat was; None while it holds.
    """

    id: str
    claim: str
    doing: "asyncio.Task[str]"
    origin: Mapping[str, str]
    refused: str | None = None


class Executor:
    """Does the work of one kind.

    Args:
        most: Pieces that are done at one time.
        name: Of this process, for people who look for a piece.
    """

    def __init__(
        self,
        queue: Queue,
        commander: Commander,
        handlers: Mapping[str, Handler],
        default: Handler,
        *,
        limits: Limits,
        most: int,
        name: str,
    ) -> None:
        self._queue = queue
        self._commander = commander
        self._handlers, self._default = handlers, default
        self._limits = limits
        self._name = name
        self._room = Room(most)
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="handler")
        self._lines = Lines()
        self._held: dict[str, _Held] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._read_value: Callable[[bytes], Any] = msgspec.json.Decoder(queue.message).decode
        self._read_document: Callable[[Raw], Any] = msgspec.json.Decoder(queue.document).decode
        self.positions = Positions()

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
                await self._commander.tell(told, origin)
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
            document = (await self._commander.ask(claim, origin)).document
        except Rejected as refusal:  # it was claimed by another, or has ended, or nobody knows it
            metrics.NOT_CLAIMED.labels(self._queue.kind, refusal.code).inc()
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
        handler = self._handlers.get(action := self._queue.action_of(piece), self._default)
        ids = {"id": piece.id, "command_id": str(uuid4()), "claim": claim}
        if self._stopping:  # it was claimed ahead, and will be tried elsewhere
            return self._queue.fail(**ids, error=STOPPED)
        doing = asyncio.create_task(called(handler, piece, self._threads))
        doing.add_done_callback(noticed)  # what one raises that was given up concerns nobody
        held = self._held[claim] = _Held(piece.id, claim, doing, origin)
        about = {"id": piece.id, "action": action, "attempt": piece.attempt, "trace_id": trace_id(origin)}
        with metrics.DOING.labels(self._queue.kind).track_inprogress():
            await asyncio.wait({doing}, timeout=self._limits.time.total_seconds())
        del self._held[claim]
        if not doing.done():
            doing.cancel()
            error, permanent = OVERTIME, False
        elif doing.cancelled():
            error, permanent = held.refused or STOPPED, False
        elif (raised := doing.exception()) is None:
            metrics.DONE.labels(self._queue.kind, "completed").inc()
            return self._queue.complete(**ids, result=doing.result()[:MAX_RESULT])
        else:
            # The error's text is for those who may read the work, and may hold what no log should.
            error, permanent = f"{type(raised).__name__}: {raised}", isinstance(raised, PermanentError)
            log.warning("a handler failed", extra={**about, "error": type(raised).__name__})
        metrics.DONE.labels(self._queue.kind, "failed").inc()
        return self._queue.fail(**ids, error=error[:MAX_ERROR], permanent=permanent)

    async def beat(self) -> None:
        """Send heartbeats for all that is being done, until cancelled."""
        while True:
            await asyncio.sleep(self._limits.lease.total_seconds() / BEATS)
            await asyncio.gather(*(self._renew(held) for held in [*self._held.values()]))

    async def _renew(self, held: _Held) -> None:
        renew = self._queue.renew(id=held.id, command_id=str(uuid4()), claim=held.claim)
        try:
            await self._commander.ask(renew, held.origin)
        except Rejected as refusal:
            held.refused = refusal.text
            held.doing.cancel()

    # --- stopping -----------------------------------------------------------------------------------

    async def stop(self, within: timedelta) -> None:
        """Let what is being done end, and give up what takes longer; nothing new is begun."""
        self._stopping = True
        for _ in range(2):
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=within.total_seconds())
            for held in self._held.values():
                held.doing.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
