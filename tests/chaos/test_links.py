"""A link does to traffic what its condition says, and nothing once it is healthy again."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from bench.stage import HOST
from tests.chaos.links import HEALTHY, Condition, Link

AT_ONCE = 0.25  # seconds: far more than a healthy link takes, and less than what is waited for elsewhere


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """The port of a server that sends back what it gets."""
    server = await asyncio.start_server(_send_back, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _send_back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@pytest.fixture
async def link(echo: int) -> AsyncIterator[Link]:
    link = Link("test")
    link.target = echo
    await link.start()
    yield link
    await link.stop()


class Peer:
    """Somebody who talks to the echo."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def says(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await self.reader.readexactly(len(data))


async def connect(link: Link) -> Peer:
    return Peer(*await asyncio.open_connection(HOST, link.port))


async def test_everything_arrives_in_order_over_a_slow_and_uneven_link(link: Link) -> None:
    link.set(Condition(latency=0.02, jitter=0.02))
    peer = await connect(link)
    data = bytes(range(256)) * 4096

    assert await peer.says(data) == data


async def test_latency_delays_each_way(link: Link) -> None:
    peer = await connect(link)
    link.set(Condition(latency=0.2))
    started = time.monotonic()

    await peer.says(b"late")

    assert time.monotonic() - started >= 0.4


async def test_bandwidth_bounds_what_passes_in_a_second(link: Link) -> None:
    peer = await connect(link)
    link.set(Condition(bandwidth=64 * 1024))
    started = time.monotonic()

    await peer.says(bytes(32 * 1024))

    assert time.monotonic() - started >= 0.5


async def test_a_silent_link_passes_nothing_and_afterwards_what_was_kept_back(link: Link) -> None:
    # given a connection over a link that falls silent
    peer = await connect(link)
    await peer.says(b"before")
    link.set(Condition(silent=True))

    # when something is said, nothing comes, and the connection stays
    waiting = asyncio.create_task(peer.says(b"meanwhile"))
    done, _ = await asyncio.wait([waiting], timeout=AT_ONCE)
    assert not done

    # then it comes once the link is healthy
    link.set(HEALTHY)
    assert await asyncio.wait_for(waiting, timeout=5) == b"meanwhile"


async def test_a_snare_holds_back_what_springs_it_and_all_after(link: Link) -> None:
    # given a link that is to fall silent at a word
    link.set(Condition(snare=lambda data: b"secret" in data))
    peer = await connect(link)
    assert await peer.says(b"harmless") == b"harmless"

    # when the word is said, nothing comes
    waiting = asyncio.create_task(peer.says(b"secret"))
    done, _ = await asyncio.wait([waiting], timeout=AT_ONCE)
    assert (set(), True) == (done, link.silent)

    # then it comes once the link is healthy
    link.set(HEALTHY)
    assert await asyncio.wait_for(waiting, timeout=5) == b"secret"


async def test_who_connects_over_a_silent_link_waits_too(link: Link) -> None:
    link.set(Condition(silent=True))
    peer = await connect(link)
    waiting = asyncio.create_task(peer.says(b"hello"))
    done, _ = await asyncio.wait([waiting], timeout=AT_ONCE)
    assert not done

    link.set(HEALTHY)

    assert await asyncio.wait_for(waiting, timeout=5) == b"hello"


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param(Condition(down=True), id="a link that is down"),
        pytest.param(Condition(reset=1.0), id="a link that resets"),
    ],
)
async def test_connections_end(link: Link, condition: Condition) -> None:
    # given a connection
    peer = await connect(link)
    await peer.says(b"before")

    # when the link turns bad, it ends
    link.set(condition)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(peer.says(b"meanwhile"), timeout=5)

    # then another is possible once the link is healthy
    link.set(HEALTHY)
    assert await (await connect(link)).says(b"after") == b"after"


async def test_new_connections_are_dropped_while_a_link_is_down(link: Link) -> None:
    link.set(Condition(down=True))
    peer = await connect(link)

    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(peer.says(b"hello"), timeout=5)


async def test_the_last_words_of_one_side_reach_the_other(link: Link) -> None:
    peer = await connect(link)
    data = bytes(512 * 1024)
    peer.writer.write(data)
    peer.writer.write_eof()

    assert await asyncio.wait_for(peer.reader.read(), timeout=5) == data
