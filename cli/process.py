"""What every role's process does alike: settings, logs, signals, metrics port, and how it ends."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn, TypeVar

import asyncpg
import uvloop
from aiokafka.errors import KafkaError

from cli.running import joined
from domain.errors import ControlPlaneError, Unavailable
from settings import BadSettings, Settings, from_env
from streams.kafka.held import HELD
from streams.kafka.rights import refusal
from streams.kafka.unavailable import UNAVAILABLE_PARTITIONS
from telemetry import logs
from telemetry.server import metrics_server

log = logging.getLogger("clusterflow.process")

T = TypeVar("T")

EXIT_SETTINGS: Final = 2
EXIT_FAILED: Final = 1


class Readiness:
    """Whether a role is ready; roles say how to ask once they know."""

    def __init__(self) -> None:
        self._ask: Callable[[], bool] = lambda: False

    def ask_by(self, ask: Callable[[], bool]) -> None:
        """From now on, this answers whether the role is ready."""
        self._ask = ask

    def __call__(self) -> bool:
        """Whether the role is ready."""
        return self._ask()


Role = Callable[[Settings, asyncio.Event, Readiness], Coroutine[Any, Any, None]]


def read_settings() -> Settings:
    """The settings, or the end of the process with what is wrong with them."""
    try:
        return from_env()
    except BadSettings as error:
        print(error, file=sys.stderr)
        raise SystemExit(EXIT_SETTINGS) from None


def run_role(name: str, role: Role) -> None:
    """Run a role until SIGTERM or SIGINT; exits 0 after a graceful stop, 1 when it could not go on."""
    settings = read_settings()
    logs.configure(level=settings.log_level, json=settings.log_format == "json", role=name)
    uvloop.install()
    asyncio.run(_supervised(settings, role, name))


def run_command(
    name: str, command: Callable[[Settings], Coroutine[Any, Any, T]], *, failed: int = EXIT_FAILED
) -> T:
    """Run a one-shot command, over the servers that run here if none are set (`cli.running`).

    What stops it is a line on stderr and status `failed`, or 2 for settings.
    """
    settings = joined(read_settings())
    logs.configure(level=settings.log_level, json=settings.log_format == "json", role=name)
    try:
        return asyncio.run(command(settings))
    except BadSettings as error:
        print(error, file=sys.stderr)
        raise SystemExit(EXIT_SETTINGS) from None
    except (ControlPlaneError, KafkaError, asyncpg.PostgresError, OSError) as error:
        print(f"clusterflow {name}: {refusal(error) or error or repr(error)}", file=sys.stderr)
        raise SystemExit(failed) from None


def _end(error: Exception, name: str, *, stopping: bool) -> NoReturn:
    """End a process that could not go on: say why, and leave threads that still run behind."""
    code = EXIT_FAILED
    match error:
        case BadSettings():
            print(error, file=sys.stderr)
            code = EXIT_SETTINGS
        case _ if stopping and _is_of_kafka(error):  # nothing to wait for, and nothing lost
            log.warning("stopped without Kafka", extra={"role": name, "error": str(error) or repr(error)})
            code = 0
        case _ if (lacking := refusal(error)) is not None:
            log.error("stopped", extra={"role": name, "error": lacking})
        case ControlPlaneError() | KafkaError() | OSError():
            log.error("stopped", extra={"role": name, "error": str(error) or repr(error)})
        case _:
            log.error("stopped", extra={"role": name}, exc_info=error)
    logging.shutdown()
    os._exit(code)


def _is_of_kafka(error: BaseException) -> bool:
    """Whether Kafka's absence is all that an error tells of."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_of_kafka, error.exceptions))
    return isinstance(error, KafkaError | Unavailable)


async def _supervised(settings: Settings, role: Role, name: str) -> None:
    stop, ready = asyncio.Event(), Readiness()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with contextlib.AsyncExitStack() as stack:
            if settings.clusterflow_parent is not None:
                watch = asyncio.create_task(_stop_with(settings.clusterflow_parent, stop))
                stack.callback(watch.cancel)
            if settings.metrics_enabled:
                host, port = settings.bind_host, settings.metrics_port
                server = metrics_server(
                    host,
                    port,
                    hosts=settings.hosts,
                    ready=ready,
                    held=lambda: HELD.names,
                    unavailable=lambda: UNAVAILABLE_PARTITIONS.names,
                )
                await stack.enter_async_context(server)
            log.info("starting", extra={"role": name})
            for variable, why in settings.warnings():
                log.warning("doubtful setting", extra={"setting": variable, "why": why})
            await role(settings, stop, ready)
        log.info("stopped", extra={"role": name})
    except Exception as error:
        _end(error, name, stopping=stop.is_set())


async def _stop_with(parent: int, stop: asyncio.Event) -> None:
    """Stop when the parent is gone, even if it was killed and could not say so."""
    while os.getppid() == parent:
        await asyncio.sleep(0.5)
    log.warning("parent is gone, stopping", extra={"parent": parent})
    stop.set()
