"""`python -m bench.bare FILE…`: an aiohttp handler that returns constant bytes; prints `ready` and its ports.

The limit of every read: same library, event loop, connections and body as the product's, and nothing else. It
leaves out what any real API has: identity, routing by id, headers of its own, metrics.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop
from aiohttp import web

from bench.stage import HOST


async def serve(body: bytes) -> int:
    """Serve these bytes under every path on a free port; returns that port."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0, backlog=1024)
    await site.start()
    port: int = runner.addresses[0][1]
    return port


async def main(bodies: Sequence[bytes]) -> None:
    """Serve each until killed."""
    ports = [await serve(body) for body in bodies]
    print("ready", *ports, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main([Path(name).read_bytes() for name in sys.argv[1:]]))
