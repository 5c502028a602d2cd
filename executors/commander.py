"""Speaks with the owners of work: commands go into their topic, results come over a group-less tail.

A command is sent again, under the same id, until its result comes: the owner answers a repeat with the first
outcome. What needs no result is sent until Kafka has acknowledged it.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka import ConsumerRecord

from domain.entity import Command
from domain.errors import Rejected, Unavailable
from streams.flow import Flow
from streams.headers import ANSWERED_BY, BY_STATE, answered_command
from streams.messages import EntityResult
from streams.writing.producer import Producer

log = logging.getLogger("clusterflow.executor")

AGAIN_AFTER: Final = 5.0
"""Seconds without a result after which a command is sent again; a turn takes some milliseconds."""


AnyFlow = Flow[Any, Any, Any]


class _Asked(NamedTuple):
    """A command whose result is waited for."""

    kind: str
    key: bytes
    answer: "asyncio.Future[EntityResult]"


class Commander:
    """Sends the commands of kinds; their results come on one topic."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._waiting = defaultdict[str, list[_Asked]](list)
        self._decode = msgspec.json.Decoder(EntityResult).decode

    def on_result(self, record: ConsumerRecord) -> None:
        """Take over a record of the topic of results; those of others are not even decoded."""
        waiting = self._waiting.get(answered_command(record))
        if waiting is None or record.value is None:
            return
        result = self._decode(record.value)
        # Others may know the id of a command, or give one of theirs the same.
        for asked in waiting:
            if (asked.kind, asked.key) == (result.kind, record.key) and not asked.answer.done():
                asked.answer.set_result(result)

    async def ask(self, flow: AnyFlow, command: Command, origin: Mapping[str, str]) -> EntityResult:
        """Have a command decided; return what it led to.

        Args:
            flow: Its kind, as it is deployed.
            origin: Headers that everything that follows from it carries on (`streams.cause.CARRIED_ON`).

        Raises: Rejected: it was refused.
        """
        answer: asyncio.Future[EntityResult] = asyncio.get_running_loop().create_future()
        waiting = self._waiting[command.command_id]
        waiting.append(asked := _Asked(flow.kind.name, command.id.encode(), answer))
        try:
            while not answer.done():
                await self._published(flow, command, origin)
                await asyncio.wait({answer}, timeout=AGAIN_AFTER)
        finally:
            waiting.remove(asked)
            if not waiting:
                del self._waiting[command.command_id]
        result = answer.result()
        if result.code is not None:
            raise Rejected(result.code, result.error or result.code, **(result.details or {}))
        return result

    async def tell(self, flow: AnyFlow, command: Command, origin: Mapping[str, str]) -> None:
        """Send a command whose result nobody needs; return once it cannot be lost."""
        await self._published(flow, command, {ANSWERED_BY: BY_STATE, **origin})

    async def _published(self, flow: AnyFlow, command: Command, headers: Mapping[str, str]) -> None:
        output = flow.command(command, {"content_type": "application/json", **headers})
        while True:
            try:
                await self._producer.publish([output])
                return
            except Unavailable as error:
                log.warning("a command waits for Kafka", extra={"error": str(error)})
                await asyncio.sleep(error.retry_after)
