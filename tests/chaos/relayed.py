"""A program that writes resources by rows of the outbox, and whether they became what it has committed.

It owns its resources. Each transaction has some rows of one resource. One whose outcome is unknown is tried
again with the same ids until it is committed, and some are rolled back. What is asked:

- Each committed row has led to one event, under its id, in the order of its resource's rows; a row that was
  rolled back has led to none.
- Each good row is marked, and each bad one parked.
"""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from bench.stage import Stage
from database.pool import CLIENT_ERRORS
from tests.chaos.check import Finding
from tests.chaos.resources import SeenResources

RETRY_AFTER: Final = 0.3  # seconds
RELAYED_WITHIN: Final = 90.0  # seconds for all rows to be published after a run
MOST: Final = 6  # resources that are written in turn
INSERT: Final = """
INSERT INTO outbox_events (id, aggregate_id, event_type, payload)
SELECT id, $1, type, payload::jsonb
FROM unnest($2::text[], $3::text[], $4::text[]) AS rows (id, type, payload)
ON CONFLICT (id) DO NOTHING
"""
PENDING: Final = "SELECT id FROM outbox_events WHERE processed_at IS NULL AND parked_at IS NULL"


class Row(NamedTuple):
    """A row, of its resource."""

    id: str
    event_type: str
    payload: str


class Undone(Exception):
    """Rolls a transaction back."""


@dataclass(slots=True)
class RowHistory:
    """What was committed, by resource and in order; what was rolled back, and what is bad."""

    committed: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    undone: set[str] = field(default_factory=set)
    bad: set[str] = field(default_factory=set)


@dataclass(slots=True)
class RowClient:
    """Writes rows until told to stop; the transaction under way is brought to its end."""

    database_url: str
    history: RowHistory
    random: random.Random
    per_second: float = 5.0
    own: list[str] = field(default_factory=list)

    async def run(self, stop: asyncio.Event) -> None:
        """Write."""
        while not stop.is_set():
            if len(self.own) < MOST:
                self.own.append(f"row-{self._id()}")
            await self._write(self.random.choice(self.own))
            await asyncio.sleep(self.random.expovariate(self.per_second))

    async def _write(self, resource: str) -> None:
        rows, there = list[Row](), bool(self.history.committed[resource])
        for _ in range(self.random.randint(1, 3)):
            rows.append(self._row(resource, there=there))
            there = rows[-1].event_type != "resource.deleted"
        bad = [Row(self._id(), "resource.moved", "{}")] if self.random.random() < 0.05 else []
        if self.random.random() < 0.1:
            self.history.undone |= {row.id for row in rows}
            await self._commit(resource, rows, undone=True)
            return
        while not await self._commit(resource, [*rows, *bad]):
            await asyncio.sleep(RETRY_AFTER)
        self.history.committed[resource] += [row.id for row in rows]
        self.history.bad |= {row.id for row in bad}
        if not there:
            self.own.remove(resource)

    async def _commit(self, resource: str, rows: Sequence[Row], *, undone: bool = False) -> bool:
        """Whether a transaction was committed; one that was not known to be may have been."""
        try:
            connection = await asyncpg.connect(self.database_url, timeout=5, command_timeout=5)
            try:
                async with connection.transaction():
                    await connection.execute(INSERT, resource, *map(list, zip(*rows, strict=True)))
                    if undone:
                        raise Undone
            finally:
                await connection.close(timeout=5)
        except Undone:
            return False
        except (asyncpg.PostgresError, *CLIENT_ERRORS):
            return False
        return True

    def _row(self, resource: str, *, there: bool) -> Row:
        id = self._id()
        ends = there and self.random.random() < 0.05  # of one that is not there, a delete tells nothing
        how = "deleted" if ends else self.random.choice(("created", "updated"))
        return Row(id, f"resource.{how}", json.dumps({"id": resource, "name": id}))

    def _id(self) -> str:
        return str(UUID(int=self.random.getrandbits(128), version=4))


async def until_relayed(stage: Stage) -> None:
    """Wait until no row is pending, if there is a relay; `check_rows` says what is left."""
    if not stage.running("relay"):
        return
    connection = await asyncpg.connect(stage.database_url)
    try:
        deadline = asyncio.get_running_loop().time() + RELAYED_WITHIN
        while await connection.fetch(PENDING) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.2)
    finally:
        await connection.close()


class SeenRows(NamedTuple):
    """The ids of rows that are published, parked and neither."""

    published: frozenset[str]
    parked: frozenset[str]
    pending: frozenset[str]


async def observe(database_url: str) -> SeenRows:
    """Look at all rows."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT id, processed_at, parked_at FROM outbox_events")
    finally:
        await connection.close()
    published = frozenset(row["id"] for row in rows if row["processed_at"] is not None)
    parked = frozenset(row["id"] for row in rows if row["parked_at"] is not None)
    return SeenRows(published, parked, frozenset(row["id"] for row in rows) - published - parked)


def check_rows(history: RowHistory, rows: SeenRows, seen: SeenResources) -> list[Finding]:
    """Everything that is wrong; empty when all is well."""
    return [
        *(finding for resource in history.committed for finding in _events(resource, history, seen)),
        *_marks(history, rows),
    ]


def _events(resource: str, history: RowHistory, seen: SeenResources) -> Iterator[Finding]:
    wanted, events = history.committed[resource], seen.events.get(resource, {})
    for id in wanted:
        if id not in events:
            yield Finding("lost", f"no event of row {id} of {resource}")
    for id in events.keys() - {*wanted}:
        why = "which was rolled back" if id in history.undone else "which nobody has committed"
        yield Finding("wrong", f"an event of {resource} under {id}, {why}")
    found = sorted(({*wanted} & events.keys()), key=lambda id: events[id].version)
    if found != [id for id in wanted if id in events]:
        yield Finding("disordered", f"{resource} has its events in the order {found}, and its rows {wanted}")


def _marks(history: RowHistory, rows: SeenRows) -> Iterator[Finding]:
    good = {id for ids in history.committed.values() for id in ids}
    for id in rows.pending:
        yield Finding("unanswered", f"row {id} is neither published nor parked")
    for id in good & rows.parked:
        yield Finding("wrong", f"row {id} is good, and parked")
    for id in history.bad - rows.parked:
        yield Finding("wrong", f"row {id} is bad, and not parked")
    for id in (rows.published | rows.parked) - good - history.bad:
        yield Finding("wrong", f"there is a row {id}, which nobody has committed")
    for id in good - rows.published - rows.parked - rows.pending:
        yield Finding("lost", f"row {id} is gone")
