"""Reads that must show every write that was answered before: they wait until the view has caught up.

Any process may have answered a write, once its record was in the log. So a later read asks the broker for the
end of its partition, and waits until this process has handled all records before that. Concurrent reads share
requests: those of one round of the loop share one, and while it is pending the next ones gather for another.
A request counts for a read only if it is sent after the read has arrived.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from domain.errors import Unavailable

ANSWER_WITHIN: Final = 2.0
"""Seconds for the answer and for the view to catch up; both take milliseconds unless a broker is away."""

Ends = Callable[[Sequence[TopicPartition]], Awaitable[Mapping[TopicPartition, int]]]
Reached = Callable[[TopicPartition, int], Awaitable[None]]


class Freshness:
    """Lets reads wait for the records that were in a partition when they arrived.

    Args:
        ends: Asks the brokers for the ends of partitions.
        reached: Waits until all records of a partition before an offset have been handled.
    """

    def __init__(self, ends: Ends, reached: Reached) -> None:
        self._ends = ends
        self._reached = reached
        self._wanted: set[TopicPartition] = set()
        self._gathering: asyncio.Task[Mapping[TopicPartition, int]] | None = None
        self._asking: asyncio.Task[Mapping[TopicPartition, int]] | None = None

    async def caught_up(self, topic: str, partition: int) -> None:
        """Wait until every record that is in a partition now has been handled here.

        Raises: Unavailable: the end was not found out, or not reached, in time.
        """
        tp = TopicPartition(topic, partition)
        self._wanted.add(tp)
        if self._gathering is None:
            self._gathering = asyncio.create_task(self._ask())
            self._gathering.add_done_callback(_retrieved)  # in case all readers give up before
        asked = self._gathering
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                ends = await asyncio.shield(asked)
                await self._reached(tp, ends[tp])
        except TimeoutError:
            raise Unavailable("This partition cannot be read up to date now; try again") from None
        except KafkaError as error:
            raise Unavailable(f"Kafka did not say where a partition ends: {error!r}") from error

    async def _ask(self) -> Mapping[TopicPartition, int]:
        """Ask for all partitions that are wanted by the time the previous request is answered."""
        if self._asking is not None:
            await asyncio.wait({self._asking})
        else:
            await asyncio.sleep(0)  # other reads of this round of the loop share the request
        self._asking, self._gathering = self._gathering, None
        wanted, self._wanted = self._wanted, set()
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                return await self._ends([*wanted])
        finally:
            self._asking = None


def _retrieved(asked: asyncio.Task[Mapping[TopicPartition, int]]) -> None:
    if not asked.cancelled():
        asked.exception()
