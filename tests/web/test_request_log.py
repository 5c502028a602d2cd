"""The line that is logged of each request names the entity it is about."""

import logging

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from web.described.operations import Operation, Route
from web.http.request_log import log_request
from web.keys import REQUEST_STATE, RequestState
from web.routes import add_routes

ID = "0c0ffee0-0000-4000-8000-00000000000a"
OPERATION = Operation(tag="Jars", answers=())


async def log(request: web.Request) -> web.Response:
    """Log the request, as a create does if its path has no id."""
    state = request[REQUEST_STATE] = RequestState("r", 0.0)
    state.entity_id = None if "id" in request.match_info else "jam"
    log_request(request, status=200, seconds=0.001)
    return web.Response()


@pytest.mark.parametrize(
    ("path", "members"),
    [
        pytest.param(f"/jars/{ID.upper()}", {"kind": "jar", "entity_id": ID}, id="a kind"),
        pytest.param(f"/jars/{ID}/", {"kind": "jar", "entity_id": ID}, id="a trailing slash"),
        pytest.param("/jars/no-uuid", {"kind": "jar", "entity_id": None}, id="no id"),
        pytest.param("/jars", {"kind": "jar", "entity_id": "jam"}, id="an id that is not in the path"),
        pytest.param(f"/clusters/{ID}", {"cluster_id": ID}, id="a cluster"),
    ],
)
async def test_the_line_names_the_entity(path, members, caplog):
    # given
    app = web.Application()
    jars = [Route("GET", path, log, OPERATION, kind="jar") for path in ("/jars", "/jars/{id:[^/]+}")]
    add_routes(app, (*jars, Route("GET", "/clusters/{id:[^/]+}", log, OPERATION)))
    caplog.set_level(logging.INFO, "clusterflow")

    # when
    async with TestClient(TestServer(app)) as client:
        await client.get(path)

    # then
    (line,) = [record for record in caplog.records if record.message == "request"]
    names = ("kind", "entity_id", "cluster_id")
    assert members == {name: getattr(line, name) for name in names if hasattr(line, name)}
