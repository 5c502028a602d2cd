"""The client that speaks Kafka alone must not count on what it could not publish."""

import asyncio
import random

import pytest

from tests.chaos import native
from tests.chaos.history import History
from tests.chaos.native import NativeClient, Undelivered


class Producer:
    """Kafka's client, which gives up on every third record."""

    def __init__(self, **options: object) -> None:
        self.sent = 0

    async def __aenter__(self) -> "Producer":
        return self

    async def __aexit__(self, *error: object) -> None:
        return None

    async def send(self, topic: str, value: bytes, key: bytes) -> asyncio.Future[None]:
        self.sent += 1
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.sent % 3:
            sent.set_result(None)
        else:
            sent.set_exception(TimeoutError("given up"))
        return sent


async def test_what_could_not_be_published_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    # given
    monkeypatch.setattr(native, "AIOKafkaProducer", Producer)
    stop, history = asyncio.Event(), History()
    client = NativeClient("nowhere", history, random.Random(1), ["a"], ["b", "c", "d"], per_second=1000)
    running = asyncio.create_task(client.run(stop))

    # when it has published some
    async with asyncio.timeout(10):
        while len(history.attempts) < 9:
            await asyncio.sleep(0.001)
    stop.set()

    # then it says that others are missing
    with pytest.raises(Undelivered, match="given up"):
        await running
