"""Speaks with the owners of work: commands go into their topic, results come over a group-less tail.

A command is sent again, under the same id, until its result comes: the owner answers a repeat with the first
outcome. What needs no result is sent until Kafka has acknowledged it.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

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


class Commander:
    """Sends the commands of one kind.

    Args:
        flow: As it is deployed.
    """

    def __init__(self, producer: Producer, flow: Flow[Any, Any, Any]) -> None:
        self._producer = producer
        self._flow = flow
        self._waiting: dict[str, asyncio.Future[EntityResult]] = {}
        self._decode = msgspec.json.Decoder(EntityResult).decode

    def on_result(self, record: ConsumerRecord) -> None:
        """Take over a record of the topic of results; those of others are not even decoded."""
        waiting = self._waiting.get(answered_command(record))
        if waiting is None or waiting.done() or record.value is None:
            return
        result = self._decode(record.value)
        if result.kind == self._flow.kind.name:
            waiting.set_result(result)

    async def ask(self, command: Command, origin: Mapping[str, str]) -> EntityResult:
        """Have a command decided; return what it led to.

        Args:
            origin: Headers that everything that follows from it carries on (`streams.cause.CARRIED_ON`).

        Raises: Rejected: it was refused.
        """
        waiting = self._waiting[command.command_id] = asyncio.get_running_loop().create_future()
        try:
            while not waiting.done():
                await self._published(command, origin)
                await asyncio.wait({waiting}, timeout=AGAIN_AFTER)
        finally:
            del self._waiting[command.command_id]
        result: EntityResult = waiting.result()
        if result.code is not None:
            raise Rejected(result.code, result.error or result.code, **(result.details or {}))
        return result

    async def tell(self, command: Command, origin: Mapping[str, str]) -> None:
        """Send a command whose result nobody needs; return once it cannot be lost."""
        await self._published(command, {ANSWERED_BY: BY_STATE, **origin})

    async def _published(self, command: Command, headers: Mapping[str, str]) -> None:
        output = self._flow.command(command, {"content_type": "application/json", **headers})
        while True:
            try:
                await self._producer.publish([output])
                return
            except Unavailable as error:
                log.warning("a command waits for Kafka", extra={"error": str(error)})
                await asyncio.sleep(error.retry_after)
