"""Samples of clusters over REST: they are taken in, and read from their rows (operations contract, 2 and 8).

All other reads are answered from views. The samples of a week do not fit into the memory of a web process,
and nobody waits for the last one to be there, so this read asks the database.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final

import asyncpg
import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from database import Pool
from database.pool import CLIENT_ERRORS
from domain.errors import Rejected, Unavailable, invalid
from domain.measures import MEASURED, Sample
from domain.samples import MOST_AT_ONCE, Add, Given, Samples
from serving.ids import new_id
from serving.kinds import Followed, Served
from streams.json import encode
from streams.samples import FLOW
from web.command_bodies import bodies
from web.described.operations import TEXT, Answer, Operation, Parameter, Route
from web.entities import traced
from web.http.errors import json_response
from web.keys import REQUEST_STATE, SERVED
from web.numbered import NumberedPage, page_of, page_parameters

SAMPLES: Final = Followed(FLOW)

DATABASE: Final = web.AppKey("database", Pool)
"""Where rows are; absent where a process has none."""

PAGE: Final = 50
LONGEST_PAGE: Final = 1000

REACH: Final = 10_000
"""Rows that pages show and count; what lies behind them is not looked for."""

READ_WITHIN: Final = 5.0
"""Seconds for the database to answer."""

MOST_SENT: Final = 1000
"""Samples of one request."""

_COLUMNS: Final = "id, cluster_id, type, value, timestamp, unit, source"

READ: Final = f"""
SELECT {_COLUMNS} FROM metrics WHERE type = ANY($1::text[]) ORDER BY timestamp DESC, id DESC LIMIT $2
"""  # noqa: S608
COUNT: Final = """
SELECT count(*) FROM (SELECT FROM metrics WHERE type = ANY($1::text[]) LIMIT $2) AS found
"""

# The newest of each type by their index, and of these the newest.
READ_OF_CLUSTER: Final = f"""
SELECT found.* FROM unnest($1::text[]) AS wanted, LATERAL (
    SELECT {_COLUMNS} FROM metrics WHERE cluster_id = $3 AND type = wanted ORDER BY timestamp DESC LIMIT $2
) AS found ORDER BY timestamp DESC, id DESC LIMIT $2
"""  # noqa: S608
COUNT_OF_CLUSTER: Final = """
SELECT count(*) FROM (SELECT FROM metrics WHERE type = ANY($1::text[]) AND cluster_id = $3 LIMIT $2) AS found
"""


class NewSamples(Struct, kw_only=True):
    """Values of a cluster, in any order."""

    cluster_id: str = ""
    metrics: Annotated[list[Given], Meta(max_length=MOST_SENT)] = []


class Accepted(Struct, kw_only=True):
    """How many were taken in."""

    accepted: int


class StoredSample(Struct, kw_only=True, omit_defaults=True):
    """A sample.

    Attributes:
        source: What it is from, where that is not a node of the cluster.
    """

    id: str
    cluster_id: str
    type: str
    value: float
    timestamp: datetime
    unit: str
    source: str | None = None


class SamplesPage(Struct, kw_only=True):
    """A page of samples, newest first.

    Attributes:
        period: The same always.
        total_count: How many there are on all pages, 10,000 at most.
    """

    metrics: Sequence[StoredSample]
    page: int
    page_size: int
    total_count: int
    period: str = "1h"


_read: Final = bodies(NewSamples)
_read_samples: Final = msgspec.json.Decoder(Samples).decode


def newest(served: Mapping[str, Served], cluster_id: str) -> Sequence[Sample]:
    """The newest sample of each type of a cluster."""
    entry = served[FLOW.kind.name].view.get(cluster_id)
    return () if entry is None else list(_read_samples(entry.document).latest.values())


async def add_samples(request: web.Request) -> web.Response:
    """Take in values of a cluster; answered once they are in the stream.

    One that is sent again, with the same time, replaces the first.
    """
    body = await _read(request)
    if not body.cluster_id:
        raise invalid("cluster_id is required", field="cluster_id")
    if not body.metrics:
        raise invalid("metrics is required", field="metrics")
    commands = [
        Add(
            id=body.cluster_id,
            command_id=new_id(),
            samples=tuple(body.metrics[start : start + MOST_AT_ONCE]),
        )
        for start in range(0, len(body.metrics), MOST_AT_ONCE)
    ]
    origin = {"request_id": request[REQUEST_STATE].request_id, **traced(request)}
    await request.app[SERVED][FLOW.kind.name].writes.send(commands, origin=origin)
    return json_response(encode(Accepted(accepted=len(body.metrics))), status=202)


async def list_samples(request: web.Request) -> web.Response:
    """A page of the samples of a cluster or of all, newest first.

    They come from the database, which has them within a second or so, and keeps them for a week.
    """
    page = page_of(request, size=PAGE, most=LONGEST_PAGE)
    cluster_id, type_ = (request.query.get(name, "") for name in ("cluster_id", "type"))
    if type_ and type_ not in MEASURED:
        raise Rejected("INVALID_PARAMETER", f"type must be one of {', '.join(MEASURED)}", field="type")
    if "\0" in cluster_id:
        raise Rejected("INVALID_PARAMETER", "cluster_id must not contain U+0000", field="cluster_id")
    pool = request.app.get(DATABASE)
    if pool is None:
        raise Unavailable("This process has no database to read samples from (DATABASE_URL)")
    try:
        async with asyncio.timeout(READ_WITHIN):
            rows, total = await _rows(pool, [type_] if type_ else list(MEASURED), cluster_id, page)
    except (asyncpg.PostgresError, *CLIENT_ERRORS) as error:
        raise Unavailable("The database does not answer now") from error
    found = SamplesPage(
        metrics=[StoredSample(**row) for row in rows],
        page=page.number,
        page_size=page.size,
        total_count=total,
    )
    return json_response(encode(found))


async def _rows(
    pool: Pool, types: Sequence[str], cluster_id: str, page: NumberedPage
) -> tuple[Sequence[asyncpg.Record], int]:
    """The rows of a page, and how many there are on all pages."""
    end = min(page.offset + page.size, REACH)
    of = (cluster_id,) if cluster_id else ()
    read, count = (READ_OF_CLUSTER, COUNT_OF_CLUSTER) if cluster_id else (READ, COUNT)
    async with pool.connection("metrics_read") as connection:
        rows = [] if page.offset >= end else await connection.fetch(read, types, end, *of)
        return rows[page.offset :], await connection.fetchval(count, types, REACH, *of)


_FILTERS: Final = (
    Parameter(name="cluster_id", where="query", about="Of this cluster", schema=TEXT),
    Parameter(
        name="type",
        where="query",
        about="Of this type",
        schema={"type": "string", "enum": list(MEASURED)},
        component="type-of-sample",
    ),
)

ROUTES: Final = (
    Route(
        "POST",
        "/api/v1/metrics",
        add_samples,
        Operation(
            tag="Monitoring",
            body=NewSamples,
            example={
                "cluster_id": "4fe1157b-ebd4-4ece-9f79-dd52c6504f4e",
                "metrics": [{"type": "cpu", "value": 42.5}],
            },
            answers=(Answer(status=202, about="They are in the stream", body=Accepted),),
            refusals=("RESOURCE_NOT_FOUND", "UNAVAILABLE"),
            public=True,
        ),
    ),
    Route(
        "GET",
        "/api/v1/metrics",
        list_samples,
        Operation(
            tag="Monitoring",
            parameters=(*_FILTERS, *page_parameters(size=PAGE, most=LONGEST_PAGE)),
            answers=(Answer(status=200, about="A page of samples", body=SamplesPage),),
            refusals=("INVALID_PARAMETER", "UNAVAILABLE"),
            public=True,
        ),
    ),
)
