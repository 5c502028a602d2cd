"""Reads pending rows, publishes their records and marks them, in order, while this process leads.

Theory of operation. A pass goes over all pending rows, by their numbers, in batches. The rows of a batch are
published together, and marked together once they are acknowledged. So a row is published at least once: a
process that dies between the two leaves it pending, and its record comes again under the same id.

A partition without a leader must hold up nobody but those who have rows for it. A batch that is not
acknowledged in time leaves its last rows behind: the producer goes on trying to send them, and their
partitions count as stuck until it has. A pass leaves out rows for a stuck partition, and all later rows of
their aggregates. Whatever the producer gives up is pending still, and a later pass finds it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

from domain.entity import REMEMBERED_COMMANDS
from domain.errors import Unavailable, Unpublishable
from outbox import metrics
from outbox.lead import Lead
from outbox.routes import Parked, Routes
from outbox.rows import OutboxRow
from outbox.settings import RelaySettings
from outbox.table import Outbox
from streams.kafka.partitions import partition_of
from streams.kafka.unavailable import Partition
from streams.writing.appending import noticed
from streams.writing.outputs import Output
from streams.writing.producer import Producer, Sending

log = logging.getLogger("clusterflow.relay")

MOST_HELD: Final = 10_000
"""Aggregates that may have to wait for stuck partitions; with more of them a pass goes no further."""

MOST_OF_ONE: Final = REMEMBERED_COMMANDS
"""Rows of one aggregate in a batch. After a crash all may come again, and its owner must know them."""

LONGEST_PAUSE: Final = 60.0
"""Seconds between two attempts while Kafka is away, at most; the first pause is one second."""


class _Late(NamedTuple):
    """Rows that were sent and not all acknowledged in time.

    Attributes:
        marked: The numbers of those that are marked.
        ended: Waits for the others.
    """

    rows: Sequence[OutboxRow]
    sending: Sending
    marked: set[int]
    ended: "asyncio.Task[Any]"


class Relay:
    """Publishes the rows of one database, as long as it leads."""

    def __init__(
        self, outbox: Outbox, routes: Routes, producer: Producer, settings: RelaySettings, lead: Lead
    ) -> None:
        self._outbox = outbox
        self._routes = routes
        self._producer = producer
        self._settings = settings
        self._lead = lead
        self._late: list[_Late] = []
        self._singly = 0  # rows to send one by one, since one of them is refused
        self._failures = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until asked to stop, or until another relay may lead.

        Raises: as `Outbox` does.
        """
        try:
            while not stop.is_set() and self._lead.lasts:
                self._lead.woken.clear()
                try:
                    await self._pass(stop)
                    self._failures = 0
                except Unavailable as error:
                    await self._pause(error, stop)
                    continue
                with suppress(TimeoutError):
                    await asyncio.wait_for(
                        _either(self._lead.woken, stop), self._settings.poll.total_seconds()
                    )
        finally:
            for late in self._late:
                late.ended.cancel()

    async def _pass(self, stop: asyncio.Event) -> None:
        """Publish what is pending and need not wait. Raises: Unavailable: Kafka takes nothing now."""
        await self._settle_late()
        after, held = 0, set[str]()
        while not stop.is_set() and self._lead.lasts and len(held) < MOST_HELD:
            limit = 1 if self._singly else self._settings.batch
            found, last = await self._outbox.pending(after, limit)
            rows = _few_of_each(found)
            goes_on = await self._publish(rows, held)
            if not goes_on or (last and len(rows) == len(found)):
                return
            after = rows[-1].seq

    # --- a batch ------------------------------------------------------------------------------------

    async def _publish(self, rows: Sequence[OutboxRow], held: set[str]) -> bool:
        """Publish rows and mark them; return whether later rows may follow.

        Args:
            held: Aggregates that have to wait; more of them are added.
        """
        stuck, parked = self._stuck(), dict[OutboxRow, str]()
        outputs: dict[OutboxRow, Output] = {}
        for row in rows:
            if row.aggregate_id in held:
                continue
            try:
                output = self._routes.output(row)
            except Parked as why:
                metrics.PARKED.labels(why.reason).inc()
                parked[row] = str(why)
                continue
            if stuck and self._place(output) in stuck:
                held.add(row.aggregate_id)
            else:
                outputs[row] = output
        await self._park(parked)
        return not outputs or await self._send([*outputs], [*outputs.values()], held)

    async def _send(self, rows: Sequence[OutboxRow], outputs: Sequence[Output], held: set[str]) -> bool:
        if not self._lead.lasts:  # the first check was before the rows were read
            return False
        self._singly = max(0, self._singly - len(rows))
        sending = None
        try:
            sending = await self._producer.begin(outputs)
            everything = await sending.wait_for(self._settings.patience.total_seconds())
        except (Unavailable, Unpublishable) as error:
            await self._mark(rows, sending, marked := set[int]())
            return await self._failed([row for row in rows if row.seq not in marked], error)
        marked = set[int]()
        await self._mark(rows, sending, marked)
        if everything is None:
            held.update(row.aggregate_id for row in rows if row.seq not in marked)
            self._follow(rows, sending, marked)
        return True

    async def _failed(self, rows: Sequence[OutboxRow], error: Unavailable | Unpublishable) -> bool:
        """Note that rows were not acknowledged; return whether later rows may follow nevertheless.

        Raises: Unavailable: if waiting is all that helps.
        """
        if isinstance(error, Unpublishable) and len(rows) == 1:
            metrics.PARKED.labels("size").inc()
            await self._park({rows[0]: str(error)})
            return True
        metrics.FAILED.inc(len(rows))
        await self._outbox.failed(rows, str(error))
        if isinstance(error, Unavailable):
            raise error
        self._singly = len(rows)  # one by one, to see which of them it is
        self._lead.woken.set()
        return False

    async def _mark(self, rows: Sequence[OutboxRow], sending: Sending | None, marked: set[int]) -> None:
        """Mark rows that are acknowledged and are not in `marked`, and add them to it."""
        stored = _stored(rows, sending) - marked
        if stored:
            await self._outbox.published([row for row in rows if row.seq in stored])
            metrics.PUBLISHED.inc(len(stored))
            marked |= stored

    async def _park(self, rows: Mapping[OutboxRow, str]) -> None:
        if rows:
            await self._outbox.park(rows)
        for row, why in rows.items():
            log.error("a row of the outbox is parked", extra={"id": row.id, "seq": row.seq, "error": why})

    # --- stuck partitions ---------------------------------------------------------------------------

    def _follow(self, rows: Sequence[OutboxRow], sending: Sending, marked: set[int]) -> None:
        """Look after rows whose partitions are stuck."""
        ended = asyncio.create_task(sending.wait())
        ended.add_done_callback(noticed)
        ended.add_done_callback(lambda _: self._lead.woken.set())
        sending.notify(lambda _: self._lead.woken.set())
        self._late.append(_Late(rows, sending, marked, ended))
        log.warning("partitions do not acknowledge", extra={"rows": len(rows) - len(marked)})

    async def _settle_late(self) -> None:
        """Mark late rows that are acknowledged by now. Raises: Unavailable: some were given up."""
        for late in [*self._late]:
            await self._mark(late.rows, late.sending, late.marked)
            if late.ended.done():
                self._late.remove(late)
                error = late.ended.exception()
                if isinstance(error, Unavailable | Unpublishable):
                    left = [row for row in late.rows if row.seq not in late.marked]
                    await self._failed(left, error)
                elif error is not None:
                    raise error

    def _stuck(self) -> Collection[Partition]:
        """The partitions that late rows are on their way to."""
        return {
            self._place(output)
            for late in self._late
            for row, output in zip(late.rows, late.sending.outputs, strict=True)
            if row.seq not in late.marked
        }

    def _place(self, output: Output) -> Partition:
        assert output.key is not None
        partitions = self._producer.partitions(output.topic)
        return output.topic, partition_of(output.key, partitions) if partitions else -1

    # --- waiting ------------------------------------------------------------------------------------

    async def _pause(self, error: Unavailable, stop: asyncio.Event) -> None:
        """Wait before the next attempt, twice as long as before the last one."""
        seconds = min(LONGEST_PAUSE, 2.0**self._failures)
        if not self._failures:
            log.warning("rows wait for Kafka", extra={"error": str(error)})
        self._failures += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)


def _few_of_each(rows: Sequence[OutboxRow]) -> Sequence[OutboxRow]:
    """The first rows, up to one that would be one too many of its aggregate."""
    seen = Counter[str]()
    for number, row in enumerate(rows):
        seen[row.aggregate_id] += 1
        if seen[row.aggregate_id] > MOST_OF_ONE:
            return rows[:number]
    return rows


def _stored(rows: Sequence[OutboxRow], sending: Sending | None) -> set[int]:
    """The numbers of the rows that Kafka has acknowledged."""
    if sending is None:
        return set()
    return {row.seq for row, at in zip(rows, sending.acknowledged(), strict=True) if at is not None}


async def _either(*events: asyncio.Event) -> None:
    """Wait until one of these is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
