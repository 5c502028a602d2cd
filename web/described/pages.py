"""What describes the service: its documents for machines, and pages for people.

The REST page is Swagger UI, served from the package that brings it; nothing is fetched from elsewhere, which
the content security policy of every page makes sure of.
"""

from collections.abc import Callable
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from domain.errors import Rejected
from streams.json import encode
from web.described.topics_page import rendered
from web.http.errors import json_response

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
Document = dict[str, Any]

_OURS: Final = Path(__file__).parent.parent / "static"


def _swagger_ui() -> Path:
    """The files of Swagger UI; found without importing the package, which would bring a template engine."""
    found = find_spec("swagger_ui")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "static"


_FILES: Final = {
    "clusterflow.css": (_OURS, "text/css"),
    "start.js": (_OURS, "text/javascript"),
    "swagger-ui.css": (_swagger_ui(), "text/css"),
    "swagger-ui-bundle.js": (_swagger_ui(), "text/javascript"),
    "favicon-32x32.png": (_swagger_ui(), "image/png"),
}


class Descriptions:
    """The documents and pages of one application, each made and encoded when it is asked for first.

    They take 50 ms to make: most processes never show them, and none should start later for them.
    """

    def __init__(self, *, openapi: Callable[[], Document], asyncapi: Callable[[], Document]) -> None:
        self._openapi = openapi
        self._asyncapi = asyncapi

    @cached_property
    def openapi(self) -> bytes:
        """REST for machines."""
        return encode(self._openapi())

    @cached_property
    def asyncapi(self) -> bytes:
        """The topics for machines."""
        return encode(self._asyncapi())

    @cached_property
    def topics(self) -> str:
        """The topics for people."""
        return rendered(self._asyncapi())


DESCRIPTIONS: Final = web.AppKey("descriptions", Descriptions)


async def openapi(request: web.Request) -> web.Response:
    """This document: REST for machines."""
    return json_response(request.app[DESCRIPTIONS].openapi)


async def asyncapi(request: web.Request) -> web.Response:
    """Every Kafka topic for machines: keys, partitions, messages and who sends them."""
    return json_response(request.app[DESCRIPTIONS].asyncapi)


async def start(request: web.Request) -> web.Response:
    """Where to go from here, for people who open the address in a browser."""
    response = _file(_OURS / "index.html", "text/html")
    response.headers["Cache-Control"] = "no-cache"  # the address may be another program's tomorrow
    return response


async def rest(request: web.Request) -> web.Response:
    """REST for people, to read and to try."""
    return _file(_OURS / "rest.html", "text/html")


async def topics(request: web.Request) -> web.Response:
    """The Kafka topics for people."""
    text = request.app[DESCRIPTIONS].topics
    return web.Response(text=text, content_type="text/html", charset="utf-8", headers=_HEADERS)


async def asset(request: web.Request) -> web.Response:
    """A file of these pages."""
    name = request.match_info["file"]
    if name not in _FILES:
        raise Rejected("RESOURCE_NOT_FOUND", "No such file")
    directory, media = _FILES[name]
    return _file(directory / name, media)


def _file(path: Path, media: str) -> web.Response:
    content_type = media if media.startswith("image/") else f"{media}; charset=utf-8"
    headers = {**_HEADERS, "Content-Type": content_type, "Cache-Control": "max-age=3600"}
    return web.Response(body=_content(path), headers=headers)


@cache
def _content(path: Path) -> bytes:
    """A file's bytes, kept once somebody wants them: a handful of files, the largest of 1.5 MB."""
    return path.read_bytes()
