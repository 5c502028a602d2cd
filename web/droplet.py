"""The REST API of droplets (operations contract, section 2)."""

from typing import Final, get_args

import msgspec
from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

from domain.droplet import Create, Delete, Droplet, Status, check
from domain.policy import Policy
from streams.droplet import droplet_flow
from streams.json import encode
from tables.flat import FlatCluster
from web.collection import Collection
from web.entities import Filtered
from web.flat import FLAT
from web.shapes import Wrapped


class ShownDroplet(Droplet, frozen=True, kw_only=True, omit_defaults=True):
    """A droplet with its cluster.

    Attributes:
        cluster: Absent for a droplet of no cluster, or of one that was deleted.
    """

    cluster: FlatCluster | UnsetType = UNSET


class _Of(Struct):
    cluster_id: str | None = None


_decode_cluster_id = msgspec.json.Decoder(_Of).decode


def with_cluster(app: web.Application, document: bytes) -> bytes:
    """The document of a droplet with its cluster in it."""
    cluster_id = _decode_cluster_id(document).cluster_id
    cluster = None if cluster_id is None else app[FLAT].cluster(cluster_id)
    return document if cluster is None else b'%b,"cluster":%b}' % (document[:-1], encode(cluster))


DROPLETS: Final = Collection(
    droplet_flow(Policy()),
    "/api/v1/droplets",
    tag="Droplets",
    document=ShownDroplet,
    check=lambda create, policy: check(create),
    filters=(
        Filtered(name="cluster_id", values=None),
        Filtered(name="status", values=lambda policy: get_args(Status)),
    ),
    fresh=True,
    shape=Wrapped("droplet"),
    grouped="cluster_id",
    completed=with_cluster,
    prefix="droplet-",
)

_EXAMPLE: Final = {"name": "one", "region": "nyc3", "size": "s-1vcpu-1gb", "image": "ubuntu-20-04-x64"}

ROUTES: Final = (
    DROPLETS.list(),
    DROPLETS.post(Create, example=_EXAMPLE, refusals=("CLUSTER_NOT_FOUND",)),
    DROPLETS.get(),
    DROPLETS.delete(Delete),
)
