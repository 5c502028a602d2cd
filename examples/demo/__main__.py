"""`make demo`: Clusterflow at work on fifty clusters, in under a minute, with a worker killed in the middle.

Everything is real and on this machine: Kafka, PostgreSQL and Valkey (embedded), all roles as `clusterflow
all` runs them, and the three controllers of `examples/controllers` as programs of their own. What happens:

    story      create → controllers work → kill -9 the worker → write while there is none → all settled
    operations jobs provision droplets → telemetry → a diagnosis → a policy makes the cluster larger; a limit
    summary    what PostgreSQL holds in the end must be what the API and Kafka told on the way

Ends with status 0 only if it is. All of it is gone afterwards, but for the logs in the data directory.
"""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import aiohttp
from aiokafka.errors import KafkaError
from rich.console import Console

from deploy.embedded import EmbeddedError
from examples.demo.errors import DemoFailure
from examples.demo.fleet import Fleet
from examples.demo.processes import ROOT, UNLUCKY, Processes, processes
from examples.demo.progress import Progress
from examples.demo.screen import Screen, account_tables, agreement, recovery, screen
from examples.demo.story import Story
from examples.demo.summary import Account
from examples.demo.watch import watch

EXPECTED: Final = {
    "aws": frozenset({"aws-network", "dns"}),
    "gcp": frozenset({"gcp-network", "dns"}),
}
REQUEST_TIMEOUT: Final = 60.0  # seconds; a write may wait for a new worker
INTERRUPTED: Final = 130


def main() -> int:
    """Run the demo; the status to exit with."""
    arguments = _arguments()
    console = Console(highlight=False)
    progress = Progress(wanted=arguments.clusters, expected=EXPECTED, unlucky=UNLUCKY)
    for number in (signal.SIGINT, signal.SIGTERM):  # both end it in order, also where a shell ignores them
        signal.signal(number, signal.default_int_handler)
    try:
        with screen(console, progress) as shown, _spoken(shown):
            account = _demo(arguments, progress, shown)
    except (DemoFailure, EmbeddedError) as failure:
        console.print(f"The demo failed: {failure}", style="red", markup=False, soft_wrap=True)
        console.print(f"Logs: {arguments.data_dir}/*.log", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted; everything is stopped.")
        return INTERRUPTED
    console.print(account_tables(account))
    console.print(recovery(progress), soft_wrap=True)
    console.print(agreement(account, progress), style="bold green", soft_wrap=True)
    return 0


@contextmanager
def _spoken(shown: Screen) -> Iterator[None]:
    """Show what the embedded servers do while they start, the first time for longer."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.say(record.getMessage())

    embedded, handler = logging.getLogger("deploy.embedded"), Handler()
    embedded.setLevel(logging.INFO)
    embedded.addHandler(handler)
    try:
        yield
    finally:
        embedded.removeHandler(handler)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--clusters", type=int, default=50, help="how many to create (default: 50)")
    parser.add_argument("--deadline", type=float, default=120.0, help="seconds for all of it (default: 120)")
    parser.add_argument("--data-dir", type=Path, default=ROOT / ".run" / "demo", help="emptied at the start")
    arguments = parser.parse_args()
    if arguments.clusters < len(EXPECTED):
        parser.error(f"--clusters must be at least {len(EXPECTED)}, one for each platform")
    return arguments


def _demo(arguments: argparse.Namespace, progress: Progress, shown: Screen) -> Account:
    """Servers up, the story, the account, servers down. Raises: DemoFailure, EmbeddedError."""
    starting, stopping = progress.begin("Kafka, PostgreSQL and Valkey start"), None
    try:
        with processes(arguments.data_dir) as running:
            progress.end(starting, "Kafka, PostgreSQL and Valkey run")
            shown.tick()
            try:
                return asyncio.run(_in_time(arguments.deadline, running, progress, shown))
            finally:
                stopping = progress.begin("everything stops")
    finally:
        if stopping is not None:
            progress.end(stopping, "everything stopped")


async def _in_time(deadline: float, running: Processes, progress: Progress, shown: Screen) -> Account:
    try:
        async with asyncio.timeout(deadline - progress.elapsed):
            return await _told(running, progress, shown)
    except TimeoutError:
        stuck = "".join(f"\n  {line}" for line in progress.stuck())
        raise DemoFailure(
            f"not done after {deadline:.0f} s, while: {progress.steps[-1].text}{stuck}"
        ) from None
    except aiohttp.ClientError as error:
        raise DemoFailure(f"the API stopped answering: {type(error).__name__}: {error}") from error
    except KafkaError as error:
        raise DemoFailure(f"Kafka stopped answering: {error}") from error


async def _told(running: Processes, progress: Progress, shown: Screen) -> Account:
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        fleet = Fleet(session, running.api_url)
        story = Story(running, fleet, progress, shown)
        await story.start()
        watching = asyncio.create_task(watch(running.stack.kafka.bootstrap_servers, progress))
        telling = asyncio.create_task(story.tell(running.stack.postgres.url))
        try:
            await asyncio.wait({watching, telling}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()  # it ends with an error only, and without it the story has no end
            return await telling
        finally:
            watching.cancel()
            telling.cancel()
            await asyncio.gather(watching, telling, return_exceptions=True)


if __name__ == "__main__":
    sys.exit(main())
