"""Handles a name that is taken again before the sink has read that it was freed.

A name is unique among live clusters, and the stream guarantees it: the second cluster of a name is created
only after the first is deleted. But the two are in different partitions, which the sink reads at different
speeds. So for a while it may have read the second's creation and not yet the first's deletion, and the unique
index would refuse a valid record. One of the two is deleted by then, and the record of its deletion is still
unread.

No record shows which one it is. Of the clusters whose last read record is live, the youngest holds the name.
The others yield it, which marks them deleted as of its creation. This is usually right. If a broker's clock
was ahead when the first was created, the wrong one yields, so a name is given back as soon as its holder's
deletion is read. In the end one live cluster remains, and it holds the name.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime

import asyncpg

from sinks.cluster import statements
from sinks.cluster.rows import ClusterRow, StateRows

log = logging.getLogger("clusterflow.sink")


async def settle(connection: asyncpg.Connection, states: Sequence[StateRows]) -> list[StateRows]:
    """Make room for the live clusters among these; return all, with those that have to yield as deleted."""
    living = [state.cluster for state in states if state.cluster.deleted_at is None]
    arrays = [
        [cluster.id for cluster in living],
        [cluster.created_by for cluster in living],
        [cluster.name for cluster in living],
        [cluster.created_at for cluster in living],
    ]
    yielded = _within(living)
    for row in await connection.fetch(statements.LATER_HOLDERS, *arrays):
        yielded[row["id"]] = row["created_at"]
    freed = [row["id"] for row in await connection.fetch(statements.YIELD_NAMES, *arrays)]
    log.info("names change hands", extra={"stored": freed, "incoming": sorted(yielded)})
    return [
        state._replace(cluster=state.cluster._replace(deleted_at=yielded[state.cluster.id], yielded=True))
        if state.cluster.id in yielded
        else state
        for state in states
    ]


async def give_back(connection: asyncpg.Connection, freed: Iterable[tuple[str, str]]) -> None:
    """Restore clusters that yielded names which are free again; `freed` holds pairs of owner and name."""
    names = sorted(set(freed))
    if not names:
        return
    rows = await connection.fetch(
        statements.GIVE_BACK_NAMES, [owner for owner, _ in names], [name for _, name in names]
    )
    if rows:
        log.info("names are given back", extra={"stored": [row["id"] for row in rows]})


def _within(living: Sequence[ClusterRow]) -> dict[str, datetime]:
    """Clusters that yield to a younger one of the same batch, with its creation."""
    youngest: dict[tuple[str, str], ClusterRow] = {}
    for cluster in sorted(living, key=lambda cluster: (cluster.created_at, cluster.id)):
        youngest[cluster.created_by, cluster.name] = cluster
    return {
        cluster.id: youngest[cluster.created_by, cluster.name].created_at
        for cluster in living
        if youngest[cluster.created_by, cluster.name].id != cluster.id
    }
