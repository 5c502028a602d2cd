"""The positions of a sink as Kafka's own tools show them; nothing reads them back."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

log = logging.getLogger("clusterflow.sink")

INTERVAL: Final = 1.0
"""Seconds between two commits. Committing after every batch cost a broker a fifth of all its requests."""

TIMEOUT: Final = 5.0
"""Seconds to wait for Kafka to store them."""


class Notes:
    """Commits positions in Kafka, now and then.

    Attributes:
        due: Whether positions have moved since they were noted.
    """

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.due = False
        self._consumer = consumer
        self._noted = 0.0

    async def now_and_then(self, positions: Mapping[TopicPartition, int]) -> None:
        """Note positions that have moved, unless that was done a moment ago."""
        if self.due and time.monotonic() - self._noted >= INTERVAL:
            await self.now(positions)

    async def now(self, positions: Mapping[TopicPartition, int]) -> None:
        """Note positions; those that Kafka does not take are noted the next time."""
        if not positions:
            return
        self._noted = time.monotonic()
        try:
            await asyncio.wait_for(self._consumer.commit(dict(positions)), TIMEOUT)
            self.due = False
        except (KafkaError, TimeoutError) as error:
            log.info("positions not noted in Kafka", extra={"error": repr(error)})
