"""`python -m tests.web.unread_server`: a web process on uvloop that says what it holds for its clients.

It prints its URL. Then each line that it reads is done, and answered with figures as a line of JSON: `look`
does nothing more; `replace` brings a new state of every cluster, so that nobody but an answer under way keeps
the old ones; `forget` begins the peaks anew.
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from tests.web.serving import serving
from web import server
from web.http.meters import METERS
from web.http.unread import UNREAD, Unread

CLUSTERS = 100
LENGTH = 400_000  # bytes of each document, about
MOST = 32 * 1024 * 1024
EACH = 4 * 1024 * 1024


class Peaked(Unread):
    """Remembers the most it has held."""

    peak = 0

    @contextmanager
    def holding(self, length: int) -> Iterator[None]:
        with super().holding(length):
            self.peak = max(self.peak, self.held)
            yield


def figures(unread: Peaked) -> dict[str, object]:
    sizes = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    answered = {
        sample.labels["status"]: sample.value
        for family in METERS.collect()
        for sample in family.samples
        if sample.name == "clusterflow_http_requests_total"
    }
    return {
        "memory": int(sizes["VmRSS"].split()[0]) * 1024,
        "peak": int(sizes["VmHWM"].split()[0]) * 1024,
        "held": unread.held,
        "held_peak": unread.peak,
        "answered": answered,
    }


def forget(unread: Peaked) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM
    unread.peak = unread.held


async def main() -> None:
    logging.disable(logging.CRITICAL)
    server.Unread = Peaked  # type: ignore[misc]
    async with serving(
        max_unread=MOST, max_unread_each=EACH, feed_bytes=2**20, max_watchers_each=1000
    ) as served:
        assert served.runner.app is not None
        unread = served.runner.app[UNREAD]
        assert isinstance(unread, Peaked)

        def replace(round_: int) -> None:
            for number in range(CLUSTERS):
                padding = f"{round_}".rjust(LENGTH, "x")
                served.put(f"{number:08}-0000-4000-8000-000000000000", minute=number, padding=padding)

        replace(0)
        lines = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(0))
        print(served.client.url, flush=True)
        rounds = 0
        while line := (await lines.readline()).decode().strip():
            if line == "replace":
                rounds += 1
                replace(rounds)
            elif line == "forget":
                forget(unread)
            print(json.dumps(figures(unread)), flush=True)


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
