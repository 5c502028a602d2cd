"""Recovery for a kind that is one table: compares, repairs and restores it.

A row is right if it shows the last state of its key. If the last record is a tombstone or a deleted state,
there must be no row, unless the table keeps rows as a history. The transaction that wrote a row (`xmin`)
shows whether it still is the row that was compared.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import msgspec
from aiokafka import ConsumerRecord

from domain.ids import deterministic_id
from recovery.comparison import comparison
from recovery.differences import Difference, too_long
from recovery.errors import RebuildRefused
from recovery.look import Comparing, Look, remove_extra
from recovery.progress import progress
from recovery.repair import Repair
from recovery.snapshot import Snapshot
from sinks.errors import RowsRefused
from sinks.halves import or_by_halves
from sinks.mapping import columns_of
from sinks.table import GONE, Table, TableRows, quoted
from streams.cause import Cause
from streams.json import encode
from streams.messages import SOURCE
from streams.reading.replay import Changelog
from streams.writing.outputs import Output

# Marks a record that repeats a state from before Kafka was lost.
REPLAY_HEADER: Final = "replay"

Row = tuple[Any, ...]


class TableCheck:
    """Compares one table in one look (`recovery.look.Compared`)."""

    def __init__(self, look: Look, rows: TableRows) -> None:
        self._look = look
        self._topic = rows.topic
        self._of = rows.table
        self._how = comparison(self.table, self._of.columns, (self._of.key,))
        self._changelog = Changelog(look.reader, rows.topic, self._shown)

    @property
    def table(self) -> str:
        """The name of the table."""
        return self._of.name

    async def compare(self) -> None:
        """Compare every row, and repair those that differ."""
        await self._changelog.read_to(self._look.positions[self._topic])
        comparing = Comparing(self._look, self)
        with progress(f"comparing {self.table}", len(self._changelog.last)) as advance:
            async for page in self._pages():
                self._look.found.compared[self.table] += len(page)
                await comparing.page(page)
                advance(len(page))
        if not self._of.keeps:
            await remove_extra(self._look, self.table, self._places(), self._is_known, self._remove)

    # --- expected rows ------------------------------------------------------------------------------

    def _shown(self, record: ConsumerRecord) -> str | None:
        """An empty text for a record that has a row; None for one that has none."""
        return None if self._of.read(record) in (None, GONE) else ""

    async def _pages(self) -> AsyncIterator[list[Row]]:
        page: list[Row] = []
        async for record in self._changelog.last_records():
            if self._changelog.last[record.key].said is None:
                continue
            page.append(self._of.row_of(self._of.read(record)))
            if len(page) == self._look.settings.page:
                yield page
                page = []
        if page:
            yield page

    def _is_known(self, key: str) -> bool:
        last = self._changelog.last.get(key.encode())
        return last is not None and last.said is not None

    # --- present rows -------------------------------------------------------------------------------

    def id_of(self, row: Row) -> str:
        """The key."""
        return str(row[0])

    def too_long(self, row: Row) -> str | None:
        """The column of the first text that is too long for it."""
        return too_long(dict(zip(self._of.columns, row, strict=True)), self._look.widths[self.table])

    async def differences(self, rows: Sequence[Row]) -> list[Difference]:
        """The differences of these rows. Raises: RowsRefused."""
        return await self._look.rows.differences(self.table, self._how, [row[0] for row in rows], rows)

    async def _places(self) -> AsyncIterator[tuple[str, str]]:
        key = quoted(self._of.key)
        after = f"WHERE {key} > $1 ORDER BY {key} LIMIT $2"
        async for row in self._look.rows.pages(f"{self._select()} {after}"):
            yield row[0], row[1]

    def _select(self) -> str:
        return f"SELECT {quoted(self._of.key)}::text, xmin::text FROM {self.table}"  # noqa: S608

    # --- repair -------------------------------------------------------------------------------------

    async def mend(self, repair: Repair, rows: Sequence[Row]) -> None:
        """Write rows again. Raises: SinkUnavailable."""
        keys = [self.id_of(row) for row in rows]
        where = f"WHERE {quoted(self._of.key)} = ANY($1::text[])"
        places = await self._look.rows.fetch(f"{self._select()} {where}", keys)
        seen = {row[0]: row[1] for row in places}

        async def write(part: Sequence[Row]) -> None:
            wrong = {self.id_of(row): seen[self.id_of(row)] for row in part if self.id_of(row) in seen}

            async def rewrite(connection: asyncpg.Connection) -> None:
                await connection.execute(self._removal(), list(wrong), list(wrong.values()))
                await connection.execute(self._of.upsert, *columns_of(part))

            await repair.write(rewrite)

        async def refused(row: Row, refusal: RowsRefused) -> None:
            repair.note(self.table, self.id_of(row), refusal)

        await or_by_halves(rows, write, refused)

    async def _remove(self, repair: Repair, seen: Mapping[str, str]) -> None:
        await repair.write(
            lambda connection: connection.execute(self._removal(), list(seen), list(seen.values()))
        )

    def _removal(self) -> str:
        return f"""
DELETE FROM {self.table} AS stored USING unnest($1::text[], $2::text[]) AS seen (key, written_by)
WHERE stored.{quoted(self._of.key)} = seen.key AND stored.xmin::text = seen.written_by
"""  # noqa: S608 (names come from our own types)


# --- rebuild ------------------------------------------------------------------------------------------


async def restored(
    rows: Snapshot, table: TableRows, page: int, headers: Mapping[str, str]
) -> AsyncIterator[list[Output]]:
    """Every row as a record of its changelog, one page at a time, with what has to be announced again.

    Ids, versions and times are kept. Offsets in the lost Kafka and outcomes of commands are not restored.

    Raises: RebuildRefused: a row cannot have come from a record.
    """
    headers = {**headers, REPLAY_HEADER: "true"}
    after = ""
    while found := await rows.fetch(table.table.page, after, page):
        states = [_state(table.table, row) for row in found]
        records = [
            Output(table.topic, row[0].encode(), encode(state), headers)
            for row, state in zip(found, states, strict=True)
        ]
        for row, state in zip(found, states, strict=True):
            records += _missed(table, row[0], state)
        yield records
        after = found[-1][0]


def _missed(table: TableRows, id: str, state: Any) -> Iterator[Output]:
    """What the new Kafka must have beside a state, such as a queued task in its queue."""
    flow = table.table.flow
    if not (events := flow.kind.missed(state)):
        return
    cause = Cause(deterministic_id("rebuild", table.table.name, id, state.version), datetime.now(UTC))
    for output in flow.announced(events, state, cause, producer=SOURCE):
        told = {**output.headers, REPLAY_HEADER: "true"}
        yield output._replace(topic=table.prefix + output.topic, headers=told)


def _state(table: Table[Any], row: asyncpg.Record) -> Any:
    try:
        return table.state_of(dict(row))
    except msgspec.MsgspecError as error:
        raise RebuildRefused(
            f"{table.name} {row[0]} cannot be restored, its row is not that of a record: {error}."
            " Correct it, or delete it, and run it again"
        ) from error
