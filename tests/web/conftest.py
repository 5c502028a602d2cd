"""Requests that no well-behaved client would send."""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import pytest
from multidict import CIMultiDict

from tests.e2e.product import Answer


@pytest.fixture
def raw_request() -> Callable[..., Awaitable[Answer]]:
    """Sends bytes as they are and reads one answer; `end` closes our side after them."""

    async def send(url: str, data: bytes, *, end: bool = False) -> Answer:
        address = urlsplit(url)
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                writer.write(data)
                if end:
                    writer.write_eof()
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = CIMultiDict(line.split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(headers.get("Content-Length", "0")))
                return Answer(int(head[0].split()[1]), headers, body)
            finally:
                writer.close()

    return send
