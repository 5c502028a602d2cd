"""Shows the progress of a command: as a bar on a terminal, as log lines elsewhere."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger("clusterflow.recovery")

# Seconds between two lines.
INTERVAL: Final = 5.0

Advance = Callable[[int], None]


@contextmanager
def progress(doing: str, total: int) -> Iterator[Advance]:
    """Show how many of `total` clusters are done; call the value with the number of further ones."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(doing, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda more: bar.advance(task, more)


def _lines(doing: str, total: int) -> Advance:
    done, said = 0, monotonic()

    def advance(more: int) -> None:
        nonlocal done, said
        done += more
        if monotonic() - said >= INTERVAL:
            said = monotonic()
            log.info(doing, extra={"done": done, "total": total})

    return advance
