"""A name that is taken again before the sink has seen that it was freed.

A name is unique among living clusters, and the stream keeps it so: the second cluster of a name is created
only after the first is deleted. But the two live in different partitions, which the sink reads at different
paces, so for a while it can hold the second's creation and not yet the first's deletion; the unique index
would refuse a valid record. One of the two is already deleted then, and its deletion has yet to be read.

Which one, no record says. Of those whose record says that they live, the youngest holds the name; the others
yield it, which marks them deleted as of its creation. Mostly that is right. Where the clock of a broker was
ahead when the first was created, the wrong one yields; so a name is given back as soon as its holder's
deletion comes. In the end one cluster is left whose record says that it lives, and it holds the name.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime

import asyncpg

from sinks.cluster import statements
from sinks.cluster.rows import ClusterRow, StateRows

log = logging.getLogger("clusterflow.sink")


async def settle(connection: asyncpg.Connection, states: Sequence[StateRows]) -> list[StateRows]:
    """Make room for the living clusters among these; returns them, those that have to yield as deleted."""
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
    """Let those live again that have yielded names which nobody holds any more; `freed`: owner and name."""
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
