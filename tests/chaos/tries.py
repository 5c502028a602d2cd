"""One request through one web process after another, for as long as somebody would try."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from bench.wire import Answer, AsyncConnection, request_bytes
from tests.chaos.clients import GIVE_UP_AFTER, RETRY_AFTER

OPEN: Final = (0, 503, 504)
"""Statuses after which nobody knows whether a write was done; 0 is no answer at all."""


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
