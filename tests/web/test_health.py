"""When this process takes Kafka for gone."""

import asyncio
import time

from domain.errors import Unavailable
from streams.tail import Tail
from tests.conftest import until
from web.health import Health

PAUSE = 1.5  # seconds: longer than a probe waits


class Paused(Tail):
    """Its process is paused during the second probe; `probes` tells how each ended and was taken."""

    probes: list[tuple[str, bool]]
    health: Health

    async def probe(self) -> None:
        if len(self.probes) == 1:
            asyncio.get_running_loop().call_soon(time.sleep, PAUSE)
        healthy = self.health.kafka_healthy
        try:
            await super().probe()
        except Unavailable:
            self.probes.append(("silent", healthy))
            raise
        self.probes.append(("answered", healthy))


async def test_a_pause_of_this_process_is_not_taken_for_kafkas(kafka):
    """The deadline passed while nobody could see the answer: writes are accepted as before."""
    tail = Paused(kafka, client_id="test", from_beginning={kafka.topics.state: print})
    tail.probes, tail.health = [], Health(tail, None)
    await tail.start()
    watching = asyncio.create_task(tail.health.watch_kafka())

    async def probed() -> bool:
        return len(tail.probes) >= 3

    try:
        await until(probed, what="three probes")
        assert [("answered", False), ("silent", True), ("answered", True)] == tail.probes[:3]
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await tail.stop()
