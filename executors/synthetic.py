"""Makes up samples for all clusters, for demonstrations (operations contract, section 8).

What it makes up follows from the cluster and the moment, so several executors make the same.
"""

import asyncio
import hashlib
import logging
import time
from datetime import UTC, datetime
from typing import Any, Final

from domain.errors import TransientError
from domain.ids import deterministic_id
from domain.measures import MEASURED, Measured
from domain.samples import Add, Given
from executors.views import Views
from streams.flow import Flow
from streams.headers import FOLLOWED
from streams.writing.producer import Producer

log = logging.getLogger("clusterflow.executor")

EVERY: Final = 15
"""Seconds between two samples of a type."""

RANGES: Final[dict[Measured, tuple[float, float]]] = {
    "cpu": (10.0, 70.0),
    "memory": (20.0, 80.0),
    "disk": (5.0, 25.0),
    "network": (0.0, 100.0),
}

SOURCE: Final = "synthetic"


def made_up(cluster_id: str, moment: int) -> Add:
    """The samples of a cluster at a moment, in Unix seconds."""
    at = datetime.fromtimestamp(moment, UTC)
    samples = tuple(
        Given(type=type_, value=_value(cluster_id, type_, moment), timestamp=at) for type_ in MEASURED
    )
    id = deterministic_id(SOURCE, cluster_id, moment)
    return Add(id=cluster_id, command_id=id, samples=samples, source=SOURCE)


def _value(cluster_id: str, type_: Measured, moment: int) -> float:
    digest = hashlib.blake2b(f"{cluster_id} {type_} {moment}".encode(), digest_size=4).digest()
    least, most = RANGES[type_]
    return round(least + (most - least) * int.from_bytes(digest) / 2**32, 1)


async def make_up(views: Views, flow: Flow[Any, Any, Any], producer: Producer) -> None:
    """Make up samples at every multiple of the interval, until cancelled."""
    while True:
        moment = int(time.time() // EVERY) * EVERY
        try:
            async for ids in views.clusters():
                await producer.publish([flow.command(made_up(id, moment), FOLLOWED) for id in ids])
        except TransientError as error:
            log.info("nothing is made up now", extra={"error": repr(error)})
        await asyncio.sleep(moment + EVERY - time.time())
