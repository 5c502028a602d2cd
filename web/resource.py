"""The REST API of resources (resources contract, section 2)."""

from typing import Final

from domain.policy import Policy
from domain.resource import Create, Delete, Resource, Update, check
from streams.resource import resource_flow
from web.collection import Collection
from web.entities import Filtered

RESOURCES: Final = Collection(
    resource_flow(Policy()),
    "/api/v1/resources",
    tag="Resources",
    document=Resource,
    check=check,
    filters=(Filtered(name="status", values=lambda policy: policy.resource_statuses),),
    fresh=True,
)

_EXAMPLE: Final = {"name": "one", "description": "the first", "status": "active"}

ROUTES: Final = (
    RESOURCES.list(),
    RESOURCES.post(Create, example=_EXAMPLE),
    RESOURCES.get(),
    RESOURCES.put(Update, example=_EXAMPLE),
    RESOURCES.delete(Delete),
)
