"""The metrics port of every role: `/metrics`, `/live` and `/ready`.

It changes nothing and knows no caller, and yet tells what web pages have no business with: `Host` is one of
ours here as well. Probes and scrapes by address go through, those by name need it in ALLOWED_HOSTS.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.hdrs import HOST
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from domain.errors import Rejected
from domain.hosts import Hosts

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def metrics_server(
    host: str,
    port: int,
    *,
    hosts: Hosts,
    ready: Callable[[], bool],
    held: Callable[[], Sequence[str]] = tuple,
    unavailable: Callable[[], Sequence[str]] = tuple,
) -> AsyncIterator[None]:
    """Serve while the block runs.

    Args:
        hosts: Those that requests may name.
        ready: Whether this process can do its work now; decides between 200 and 503 on `/ready`.
        held: The partitions that an open transaction holds back now; named in the body of `/ready`.
        unavailable: Those that have no leader that answers now; named there as well.

    Raises: OSError: the port is taken.
    """

    @web.middleware
    async def ours(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            hosts.require(request.headers.get(HOST))
        except Rejected as refusal:
            status = 421 if refusal.code == "MISDIRECTED_REQUEST" else 400
            return web.json_response({"error": refusal.text, "code": refusal.code}, status=status)
        return await handler(request)

    app = web.Application(middlewares=[ours])

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def live(request: web.Request) -> web.Response:
        return web.json_response({"status": "live"})

    async def readiness(request: web.Request) -> web.Response:
        is_ready = ready()
        body = {
            "status": "ready" if is_ready else "not ready",
            "held_partitions": [*held()],
            "unavailable_partitions": [*unavailable()],
        }
        return web.json_response(body, status=200 if is_ready else 503)

    app.add_routes([web.get("/metrics", metrics), web.get("/live", live), web.get("/ready", readiness)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()
