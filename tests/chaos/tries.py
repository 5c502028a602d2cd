"""One request through one web process after another, for as long as somebody would try."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.wire import Answer, AsyncConnection, request_bytes
from tests.chaos.clients import GIVE_UP_AFTER, RETRY_AFTER, HttpClient

OPEN: Final = (0, 503, 504)
"""Statuses after which nobody knows whether a write was done; 0 is no answer at all."""


@dataclass(slots=True)
class Writer:
    """A client that writes to other kinds beside clusters of its own.

    Args:
        clusters: Creates and deletes them.
        per_second: Operations it makes at most.
    """

    clusters: HttpClient
    random: random.Random
    per_second: float = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Write until told to stop; the operation under way is brought to its end."""
        while not stop.is_set():
            await self.operate()
            if self.per_second:
                await asyncio.sleep(self.random.expovariate(self.per_second))
        for connection in self.clusters.webs:
            connection.close()

    async def operate(self) -> None:
        """One operation, chosen at random."""
        raise NotImplementedError

    def tries(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Answer]:
        """The answers to one request, as `tries` has them."""
        webs, email = self.clusters.webs, self.clusters.email
        return tries(webs, self.random, method, path, email=email, body=body, headers=headers)


async def tries(
    webs: Sequence[AsyncConnection],
    draws: random.Random,
    method: str,
    path: str,
    *,
    email: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Answer]:
    """The answers, until the caller has had enough or nobody would try any more."""
    began = time.monotonic()
    wire = request_bytes(method, path, email=email, body=body, headers=headers)
    while time.monotonic() - began < GIVE_UP_AFTER:
        try:
            yield await draws.choice(webs).exchange(wire)
        except (OSError, EOFError, TimeoutError):
            yield Answer(0, b"")
        await asyncio.sleep(RETRY_AFTER)
