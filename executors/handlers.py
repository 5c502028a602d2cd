"""Handlers: the code of users that does the work.

A handler is a function that takes the document of a piece of work, as REST shows it (for tasks `domain.task.
Task`), and returns its result as text. It may be a coroutine function, or a plain one, which runs in a
thread. A package of a user's own names its handlers as entry points:

    [project.entry-points."clusterflow.handlers"]
    resize = "my_package.tasks:resize"

A piece may be handed to a handler more than once, since an executor may die after the work and before it has
said so: `id` and `attempt` tell whether it was done before. Any exception fails the attempt, and another one
follows unless it is a `PermanentError`.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor as Pool
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from typing import Any, Final

from domain.errors import ControlPlaneError

GROUP: Final = "clusterflow.handlers"

Handler = Callable[[Any], Awaitable[str | None] | str | None]


class BadHandlers(ControlPlaneError):
    """An entry point cannot be used; the text names it and says why."""


def load() -> Mapping[str, Handler]:
    """The installed handlers by action. Raises: BadHandlers."""
    handlers: dict[str, Handler] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in handlers:
            raise BadHandlers(f"two packages have a handler for {entry.name} ({GROUP}); uninstall one")
        try:
            handler = entry.load()
        except Exception as error:
            raise BadHandlers(f"{entry.value}, the handler for {entry.name}: {error!r}") from error
        if not callable(handler):
            raise BadHandlers(f"{entry.value}, the handler for {entry.name}, is no function")
        handlers[entry.name] = handler
    return handlers


def default(seconds: float = 0.0) -> Handler:
    """The handler for actions that have none of their own (resources contract, section 4).

    Args:
        seconds: What its work takes.
    """

    async def complete(piece: Any) -> str:
        await asyncio.sleep(seconds)
        return f"Completed {piece.action} for resource {piece.resource_id}"

    return complete


class Handlers:
    """Has pieces of work done by the handlers of their actions; plain functions run in threads.

    Args:
        otherwise: The handler of actions that have none.
        action_of: The action of a piece.
        most: Pieces that are done at one time.
    """

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        otherwise: Handler,
        action_of: Callable[[Any], str],
        *,
        most: int,
    ) -> None:
        self._handlers, self._otherwise = handlers, otherwise
        self._action_of = action_of
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="handler")

    async def do(self, piece: Any, held: object) -> str:
        """Do a piece of work; return its result."""
        handler = self._handlers.get(self._action_of(piece), self._otherwise)
        return await called(handler, piece, self._threads)

    def stop(self) -> None:
        """Let the threads end once what runs in them has."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def called(handler: Handler, piece: Any, threads: Pool) -> str:
    """What a handler returns; a plain function runs in one of the threads."""
    if inspect.iscoroutinefunction(handler):
        result = await handler(piece)
    else:
        result = await asyncio.get_running_loop().run_in_executor(threads, handler, piece)
        if inspect.isawaitable(result):  # a plain function that returns a coroutine, as decorators make them
            result = await result
    return "" if result is None else str(result)
