"""The REST API of resources (resources contract, section 2)."""

from typing import Final

from aiohttp import web

from domain.policy import Policy
from domain.resource import Create, Delete, Description, Name, Resource, Status, Update, check
from domain.values import Struct
from streams.resource import resource_flow
from web.collection import Collection, Filtered, bodies, expected_version
from web.keys import SETTINGS

_STATUS: Final = Filtered(name="status", values=lambda policy: policy.resource_statuses)

RESOURCES: Final = Collection(
    resource_flow(Policy()),
    "/api/v1/resources",
    tag="Resources",
    document=Resource,
    filters=(_STATUS,),
    fresh=True,
)


class ResourceBody(Struct, frozen=True, kw_only=True):
    """The body of POST and PUT; a PUT without a status keeps the current one."""

    name: Name
    description: Description | None = None
    status: Status | None = None


_read = bodies(ResourceBody)


async def _body(request: web.Request) -> ResourceBody:
    body = await _read(request)
    check(body.name, body.description, body.status, request.app[SETTINGS].policy.resource_statuses)
    return body


async def create_resource(request: web.Request) -> web.Response:
    """Create a resource; answered once it exists."""
    body, who = await _body(request), RESOURCES.new(request)
    command = Create(
        id=who.entity_id,
        command_id=who.command_id,
        name=body.name,
        description=body.description,
        status=body.status,
    )
    return await RESOURCES.created(request, command, keyed=who.keyed)


async def update_resource(request: web.Request) -> web.Response:
    """Replace a resource; with `If-Match` only if nobody else has since it was read."""
    who, body = RESOURCES.known(request), await _body(request)
    command = Update(
        id=who.entity_id,
        command_id=who.command_id,
        expected_version=expected_version(request),
        name=body.name,
        description=body.description,
        status=body.status,
    )
    return await RESOURCES.written(request, command)


_EXAMPLE: Final = {"name": "one", "description": "the first", "status": "active"}

ROUTES: Final = (
    RESOURCES.list(),
    RESOURCES.post(create_resource, body=ResourceBody, example=_EXAMPLE),
    RESOURCES.get(),
    RESOURCES.put(update_resource, body=ResourceBody, example=_EXAMPLE),
    RESOURCES.delete(Delete),
)
