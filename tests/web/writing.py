"""What a submitter writes to, without a Kafka."""

import asyncio
import time
from collections.abc import Sequence, Set

from serving.outcomes import Outcomes
from streams.writing.appending import Acknowledged
from streams.writing.outputs import Output, RecordPosition


class Ready:
    """The health of a process whose Kafka is there."""

    kafka_healthy = True
    unavailable: Set[tuple[str, int]] = frozenset()

    def __init__(self) -> None:
        self.outcomes = Outcomes(15.0, time.monotonic)

    def require_kafka(self) -> None:
        """It is."""


class Kafka:
    """A producer each of whose publishings takes until the test ends it."""

    def __init__(self) -> None:
        self.published: list[list[str]] = []  # keys of what was published together
        self.outputs: list[Output] = []
        self.ends: list[asyncio.Future[None]] = []
        self.told: list[Acknowledged] = []

    async def publish(self, outputs: Sequence[Output], *, acknowledged: Acknowledged) -> None:
        self.published.append([(output.key or b"").decode() for output in outputs])
        self.outputs += outputs
        self.told.append(acknowledged)
        self.ends.append(asyncio.get_running_loop().create_future())
        await self.ends[-1]
        acknowledged({number: RecordPosition(0, number) for number in range(len(outputs))})

    def acknowledge(self, *numbers: int) -> None:
        """Acknowledge only these of what was last published together."""
        self.told[-1]({number: RecordPosition(0, number) for number in numbers})

    def partitions(self, topic: str) -> int:
        return 2
