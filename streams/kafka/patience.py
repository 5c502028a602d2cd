"""Waits for a Kafka that does not answer yet, in roles that have nothing to say to anybody meanwhile."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from aiokafka.errors import KafkaError

from domain.errors import NotPermitted, Unavailable

T = TypeVar("T")

INTERVAL: Final = 1.0
"""Seconds between two attempts."""


async def once_it_answers(
    ask: Callable[[], Awaitable[T]], *, stop: asyncio.Event, log: logging.Logger
) -> T | None:
    """What Kafka has answered, as soon as it does; None if asked to stop before that.

    Raises: NotPermitted: waiting does not help, and each restart logs the missing right again. What `ask`
        raises that says nothing about whether Kafka is there.
    """
    waiting = False
    while not stop.is_set():
        try:
            return await ask()
        except NotPermitted:
            raise
        except (KafkaError, Unavailable) as error:
            if not waiting:
                log.warning("waiting for Kafka", extra={"error": repr(error)})
            waiting = True
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), INTERVAL)
    return None
