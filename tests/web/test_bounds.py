"""How long an answer may be on its way."""

import asyncio
import json
from datetime import timedelta
from urllib.parse import urlsplit

from tests.conftest import until
from tests.e2e.product import SPEC, an_owner


async def test_who_does_not_read_an_answer_is_cut_off(product):
    api = await product.web(an_owner(), write_timeout=timedelta(seconds=1))
    padded = {**SPEC, "padding": "x" * 500_000}
    for number in range(20):
        await api.created(f"large-{number}", padded)
    address = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1024)
    request = f"GET /api/v1/clusters HTTP/1.1\r\nHost: x\r\nX-User-Email: {api.email}\r\n\r\n"
    writer.write(request.encode() * 20)  # 200 MB of answers: more than the buffers of two sockets may grow to
    assert await reader.readuntil(b"\r\n") == b"HTTP/1.1 200 OK\r\n"
    writer.transport.pause_reading()
    await asyncio.sleep(0)  # nothing is taken from now on

    async def is_cut() -> bool:
        try:
            writer.write(b"\r\n")
            await writer.drain()
        except ConnectionError:
            return True
        return writer.transport.is_closing()

    await until(is_cut, within=15, what="the connection's end")
    writer.transport.abort()


async def test_who_reads_slowly_but_in_time_gets_all_of_it(product):
    api = await product.web(an_owner(), write_timeout=timedelta(seconds=20))
    for number in range(8):
        await api.created(f"large-{number}", {**SPEC, "padding": "x" * 500_000})
    address = urlsplit(api.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1024)
    request = (
        f"GET /api/v1/clusters HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-User-Email: {api.email}\r\n\r\n"
    )
    writer.write(request.encode())
    parts = []
    while part := await reader.read(64 * 1024):
        parts.append(part)
        await asyncio.sleep(0.005)
    writer.close()
    body = b"".join(parts).partition(b"\r\n\r\n")[2]
    assert 8 == len(json.loads(body)["clusters"])
