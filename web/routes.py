"""Method, path, handler: the API on one page. A trailing slash reaches the same resource."""

from aiohttp import web

from web import clusters, status, system

ROUTES = (
    ("GET", "/api/v1/clusters", clusters.list_clusters),
    ("POST", "/api/v1/clusters", clusters.create_cluster),
    ("GET", "/api/v1/clusters/{id}", clusters.get_cluster),
    ("PUT", "/api/v1/clusters/{id}", clusters.update_cluster),
    ("DELETE", "/api/v1/clusters/{id}", clusters.delete_cluster),
    ("GET", "/api/v1/clusters/{id}/status", status.get_status),
    ("PUT", "/api/v1/clusters/{id}/status", status.put_status),
    ("GET", "/api/v1/info", system.info),
    ("GET", "/health", system.health),
)


def add_routes(app: web.Application) -> None:
    """Route every path, with and without a trailing slash."""
    for method, path, handler in ROUTES:
        app.router.add_route(method, path, handler)
        app.router.add_route(method, path + "/", handler)
