"""Method, path, handler: the API on one page. A trailing slash reaches the same resource."""

from typing import Final

from aiohttp import web

from web import clusters, status, system

ROUTES: Final = (
    ("GET", "/api/v1/clusters", clusters.list_clusters),
    ("POST", "/api/v1/clusters", clusters.create_cluster),
    ("GET", "/api/v1/clusters/{id:[^/]+}", clusters.get_cluster),
    ("PUT", "/api/v1/clusters/{id:[^/]+}", clusters.update_cluster),
    ("DELETE", "/api/v1/clusters/{id:[^/]+}", clusters.delete_cluster),
    ("GET", "/api/v1/clusters/{id:[^/]+}/status", status.get_status),
    ("PUT", "/api/v1/clusters/{id:[^/]+}/status", status.put_status),
    ("GET", "/api/v1/info", system.info),
    ("GET", "/health", system.health),
)


def add_routes(app: web.Application) -> None:
    """Route every path, with and without a trailing slash."""
    for method, path, handler in ROUTES:
        app.router.add_route(method, path, handler, expect_handler=_expected)
        app.router.add_route(method, path + "/", handler, expect_handler=_expected)


async def _expected(request: web.Request) -> None:
    """Let a waiting client go on; other expectations are passed over (RFC 9110, section 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # or aiohttp takes the headers of the answer as sent
