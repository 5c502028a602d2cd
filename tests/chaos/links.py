"""A small TCP proxy between two processes, and what can be wrong with the network there.

The faults are toxiproxy's, as far as they are of use here: down, timeout (here `silent`), latency with
jitter, bandwidth, reset_peer. Bytes never get lost or change places, as TCP promises.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from bench.stage import HOST

CHUNK: Final = 64 * 1024
QUEUED: Final = 64  # chunks under way in one direction; the sender waits for room


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How a link is.

    Attributes:
        down: Open connections are dropped, new ones too.
        silent: Nothing passes, and neither side is told: what a cut cable looks like.
        latency, jitter: Seconds that each piece of data is late, and by how much more or less.
        bandwidth: Bytes a second and direction; 0 is no limit.
        reset: The chance of each piece of data (at most 64 KiB) to end its connection instead.
        snare: Which piece on its way to the target makes the link silent, just before it would pass.
    """

    down: bool = False
    silent: bool = False
    latency: float = 0.0
    jitter: float = 0.0
    bandwidth: float = 0.0
    reset: float = 0.0
    snare: Callable[[bytes], bool] | None = None


HEALTHY: Final = Condition()

Pieces = asyncio.Queue[tuple[float, bytes]]
"""What is under way in one direction: when each piece is due, on the loop's clock."""


class Link:
    """A listening port whose connections go on to a target, under a condition that can be changed."""

    def __init__(self, name: str, *, draws: random.Random | None = None) -> None:
        """`draws`: where jitter and resets come from."""
        self.name = name
        self.port = 0
        self.target = 0
        self._draws = draws or random.Random(name)
        self._condition = HEALTHY
        self._passing = asyncio.Event()
        self._passing.set()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """`host:port` for those who connect."""
        return f"{HOST}:{self.port}"

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.start_server(self._accept, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End all connections and listen no more."""
        if self._server is not None:
            self._server.close()
            self._drop()
            await asyncio.gather(*self._open, return_exceptions=True)
            self._server = None

    @property
    def silent(self) -> bool:
        """Whether nothing passes."""
        return self._condition.silent

    def set(self, condition: Condition) -> None:
        """Be so from now on."""
        self._condition = condition
        if condition.silent:
            self._passing.clear()
        else:
            self._passing.set()
        if condition.down:
            self._drop()

    def _drop(self) -> None:
        for connection in self._open:
            connection.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._connected(reader, writer)
            writer.close()  # what is still buffered goes out
        except asyncio.CancelledError:
            writer.transport.abort()  # the link was cut, and nothing comes after it here
        finally:
            self._open.discard(task)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._condition.down:
            return
        await self._passing.wait()
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self.target)
        except OSError:
            return  # whoever connected sees the connection end, as with a port forwarded to nobody
        there, back = Pieces(QUEUED), Pieces(QUEUED)
        try:
            async with asyncio.TaskGroup() as ways:
                for way in (
                    self._take(reader, there),
                    self._give(there, far_writer, snared=True),
                    self._take(far_reader, back),
                    self._give(back, writer),
                ):
                    ways.create_task(way)
        except* OSError:
            writer.transport.abort()  # one side was reset, or the link does it: so is the other
            far_writer.transport.abort()
        finally:
            far_writer.close()

    async def _take(self, reader: asyncio.StreamReader, pieces: Pieces) -> None:
        """Read to the end; the last piece is empty. Raises: OSError: the connection broke."""
        clock = asyncio.get_running_loop().time
        data = b"."
        while data:
            data = await reader.read(CHUNK)
            late = self._condition.latency + self._condition.jitter * self._draws.uniform(-1, 1)
            await pieces.put((clock() + max(0.0, late), data))

    async def _give(self, pieces: Pieces, writer: asyncio.StreamWriter, *, snared: bool = False) -> None:
        """Write what is due, then the end. Raises: OSError: the connection broke, or the link resets it."""
        clock = asyncio.get_running_loop().time
        while True:
            due, data = await pieces.get()
            await asyncio.sleep(max(0.0, due - clock()))
            if self._condition.bandwidth:
                await asyncio.sleep(len(data) / self._condition.bandwidth)
            if snared and self._condition.snare is not None and self._condition.snare(data):
                self.set(replace(self._condition, silent=True, snare=None))
            await self._passing.wait()
            if not data:
                writer.write_eof()
                return
            if self._draws.random() < self._condition.reset:
                raise ConnectionResetError(f"by {self.name}")
            writer.write(data)
            await writer.drain()
