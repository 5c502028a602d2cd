"""Read, write, wait, continue: the life of one writer, and the only module that knows about waiting.

The positions in the database are the only truth. After an assignment, an outage or a conflict a writer
forgets everything and begins again from them (`_take_over`). So no failure needs a case of its own, and while
the database is away nothing is kept in memory.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError, OffsetOutOfRangeError

from domain.errors import MalformedRecord, SinkUnavailable, TransientError, Unavailable
from sinks.errors import ForeignPositions, LockHeld, PositionsMoved, RowsRefused
from sinks.halves import or_by_halves
from sinks.mapping import Change, Mappings, written_at
from sinks.notes import Notes
from sinks.postgres import Bookmark, Postgres, SinkPosition
from sinks.settings import SinkSettings
from sinks.vanished import Vanished
from streams.claims import NO_CLAIM, Claims
from streams.kafka.topic_ids import topic_ids
from streams.writing.dead_letters import parked
from streams.writing.producer import Producer

log = logging.getLogger("clusterflow.sink")

# The number of tries after which a row is given up (contract, section 7).
TRIES: Final = 5
FIRST_BACKOFF: Final = 0.1

# Milliseconds of one poll, after which a writer notices a new assignment.
POLL_MS: Final = 500


class Writer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Writes its share of the partitions.

    Args:
        consumer: Started, without automatic commits and without an automatic reset of offsets.
        mappings: The topics to read, and how their records become rows.
        producer: For dead letters; connects when first needed.
        changed: Called when `available` may have changed.
    """

    def __init__(
        self,
        settings: SinkSettings,
        consumer: AIOKafkaConsumer,
        mappings: Mappings,
        database: Postgres,
        producer: Producer,
        *,
        stop: asyncio.Event,
        changed: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._mappings = mappings
        self._database = database
        self._producer = producer
        self._stop = stop
        self._changed = changed
        self._positions: dict[TopicPartition, int] = {}
        self._vanished = Vanished(settings, mappings.changelogs, database)
        self._claims: dict[str, Claims] = {}  # by changelog
        # Counts how many times everything was forgotten; `_taken` is the count at the last take-over.
        self._forgotten = 1
        self._taken = 0
        self._joins = False
        self._failures = 0
        self._waits_since: float | None = None
        self._touched: float | None = None
        self._notes = Notes(consumer)
        self._topic_ids: Mapping[str, str] = {}
        self._commits = 0

    @property
    def available(self) -> bool:
        """Whether it has taken over its partitions, if any, and does not wait for the database."""
        return not self._lost and self._waits_since is None

    async def run(self) -> None:
        """Write until asked to stop.

        Raises: errors that waiting does not cure.
        """
        self._consumer.subscribe(self._mappings.topics, listener=self)
        while not self._stop.is_set():
            try:
                await self._turn()
            except PositionsMoved as conflict:
                log.info("goes back to the stored positions", extra={"error": str(conflict)})
                self._forget()
            except (TransientError, KafkaError) as error:
                if isinstance(error, KafkaError) and not _passes(error):
                    raise
                await self._wait(error)
        if self._notes.due:
            await self._notes.now(self._to_note)

    async def lag(self) -> int:
        """The lag of its partitions in records. Raises: KafkaError."""
        positions = dict(self._positions)
        if not positions:
            return 0
        ends = await self._consumer.end_offsets(list(positions))
        return sum(max(0, end - positions[tp]) for tp, end in ends.items())

    # --- assignment ---------------------------------------------------------------------------------

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Do nothing: the positions fence a batch that is being written."""
        self._joins = True

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Pause every partition until its position is known.

        This must not wait, or aiokafka would begin at positions of its own meanwhile.
        """
        self._joins = False
        self._forget()
        for tp in assigned:
            self._consumer.seek(tp, 0)

    @property
    def _lost(self) -> bool:
        return self._taken != self._forgotten

    def _forget(self) -> None:
        self._forgotten += 1
        self._consumer.pause(*self._consumer.assignment())
        self._changed()

    async def _take_over(self) -> None:
        taken = self._forgotten
        partitions = self._consumer.assignment()
        self._topic_ids = await self._present_topics()
        positions = await self._database.positions(partitions, self._topic_ids)
        if await self._give_up_claims(positions):
            return
        starts = await self._starts({tp: position.offset for tp, position in positions.items()})
        if await self._remove_vanished(positions, starts):
            return  # the positions have moved
        expired = {
            tp: (position.offset, SinkPosition(starts[tp], position.claim))
            for tp, position in positions.items()
            if position.offset < starts[tp]
        }
        if expired:
            await self._database.write([], expired)
        if taken != self._forgotten:
            return  # there was another assignment meanwhile
        self._positions = starts
        self._claims = {
            topic: Claims({tp.partition: at.claim for tp, at in positions.items() if tp.topic == topic})
            for topic in self._mappings.changelogs
        }
        for tp, start in starts.items():
            self._consumer.seek(tp, start)
        self._consumer.resume(*partitions)
        self._taken = taken
        self._touched = None
        self._changed()
        await self._notes.now(self._to_note)

    async def _give_up_claims(self, positions: Mapping[TopicPartition, Bookmark]) -> bool:
        """Start over in partitions whose stored claim no owner can have made; return whether there were any.

        Earlier versions believed such a record, and from then on ignored all records under real claims. Rows
        do not change when their records are read twice.
        """
        impossible = {
            tp: at for tp, at in positions.items() if at.claim >= at.offset and at.claim != NO_CLAIM
        }
        for tp, at in impossible.items():
            about = {"topic": tp.topic, "partition": tp.partition, "position": at.offset, "claim": at.claim}
            log.error("a stored claim lies beyond its position; its partition is read again", extra=about)
        if impossible:
            again = {tp: (at.offset, SinkPosition(0, NO_CLAIM)) for tp, at in impossible.items()}
            await self._database.write([], again)
        return bool(impossible)

    async def _present_topics(self) -> Mapping[str, str]:
        """The ids of all topics. Raises: Unavailable: one is missing; KafkaError."""
        found = await topic_ids(self._settings.kafka, self._mappings.topics)
        if missing := [topic for topic in self._mappings.topics if topic not in found]:
            raise Unavailable(f"{' and '.join(missing)} not there; run `clusterflow topics`")
        return found

    async def _remove_vanished(
        self, positions: Mapping[TopicPartition, Bookmark], starts: Mapping[TopicPartition, int]
    ) -> bool:
        """Remove rows whose tombstones may be gone; return whether positions were moved for that."""
        logs = self._mappings.changelogs
        gaps = [tp for tp, at in positions.items() if tp.topic in logs and 0 < at.offset < starts[tp]]
        due = sorted({*gaps, *await self._vanished.may_have(positions)})
        for tp in due:
            if await self._vanished.remove(tp, positions[tp], starts[tp]):
                break  # this has taken long, so poll Kafka first and do the other partitions afterwards
        return bool(due)

    async def _starts(self, positions: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        """The offsets to begin at: the positions, or later ones if retention has removed records there."""
        if not positions:
            return {}
        beginnings = await self._consumer.beginning_offsets(list(positions))
        ends = await self._consumer.end_offsets(list(positions))
        for tp, position in positions.items():
            if position > ends[tp]:
                raise ForeignPositions(
                    f"{tp.topic}/{tp.partition} ends at {ends[tp]}, before the stored position {position}:"
                    " the topic was made anew or has lost records; docs/recovery.md says what to do"
                )
            if 0 < position < beginnings[tp]:
                where = {"topic": tp.topic, "partition": tp.partition}
                expired = {"position": position, "beginning": beginnings[tp]}
                log.error("records expired before they were stored", extra={**where, **expired})
        return {tp: max(position, beginnings[tp]) for tp, position in positions.items()}

    # --- records ------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        records = await self._poll()
        if self._lost:
            await self._take_over()
            return
        if records:
            await self._write(await self._changes(records))
        passed = await self._pass_unseen({TopicPartition(r.topic, r.partition) for r in records})
        self._notes.due = self._notes.due or bool(records) or passed
        await self._notes.now_and_then(self._to_note)
        await self._touch()
        self._goes_on()

    async def _poll(self) -> list[ConsumerRecord]:
        """The next records, in offset order per partition; while all are paused, only a heartbeat."""
        timeout = 0 if self._lost else POLL_MS
        look = self._consumer.getmany(timeout_ms=timeout, max_records=self._settings.batch_records)
        poll = asyncio.ensure_future(look)
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({poll, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return [record for records in poll.result().values() for record in records] if poll.done() else []
        finally:
            stopped.cancel()
            poll.cancel()  # it is done, or its result is not needed

    async def _changes(self, records: Sequence[ConsumerRecord]) -> list[Change]:
        changes: list[Change] = []
        bad: list[tuple[ConsumerRecord, MalformedRecord]] = []
        for record in records:
            counts, content = self._counts(record), None
            try:
                if counts or record.key is None:  # a record without a key belongs to no entity, and is parked
                    content = self._mappings.read(record)
            except MalformedRecord as error:
                bad.append((record, error))
            changes.append(Change(record, content, self._standing(record.topic, record.partition)))
        await self._park(bad)
        return changes

    def _counts(self, record: ConsumerRecord) -> bool:
        """Whether a record is data that counts."""
        claims = self._claims.get(record.topic)
        return claims is None or claims.admits(record)

    def _standing(self, topic: str, partition: int) -> int:
        """The current claim after the records of a partition that were examined."""
        claims = self._claims.get(topic)
        return NO_CLAIM if claims is None else claims.standing(partition)

    async def _write(self, changes: Sequence[Change]) -> None:
        """Write all changes; park those that PostgreSQL refuses by themselves."""
        await or_by_halves(changes, self._write_together, self._refused)

    async def _write_together(self, changes: Sequence[Change]) -> None:
        moves: dict[TopicPartition, tuple[int, SinkPosition]] = {}
        for record, _, claim in changes:
            tp = TopicPartition(record.topic, record.partition)
            begin = moves[tp][0] if tp in moves else self._positions[tp]
            moves[tp] = (begin, SinkPosition(record.offset + 1, claim, written_at(record)))
        await self._database.write(changes, moves)
        self._positions.update({tp: end.offset for tp, (_, end) in moves.items()})
        self._crash_if_told()

    async def _pass_unseen(self, seen: Set[TopicPartition]) -> bool:
        """Move positions past offsets without a visible record; return whether there were any.

        A transaction ends with a marker, and its aborted records are not delivered. If these are the last in
        a partition, no later record moves the position past them, and the sink would have a lag for ever.

        Args:
            seen: Partitions with records in the last poll; their positions move with those records.
        """
        moves: dict[TopicPartition, tuple[int, SinkPosition]] = {}
        for tp in self._consumer.assignment() - seen:
            reached = await self._consumer.position(tp)
            if self._lost:  # a rebalance has reassigned partitions, so these positions are outdated
                return False
            if reached > self._positions[tp]:
                moves[tp] = (self._positions[tp], SinkPosition(reached, self._standing(*tp)))
        if not moves:
            return False
        await self._database.write([], moves)
        self._positions.update({tp: end.offset for tp, (_, end) in moves.items()})
        return True

    async def _touch(self) -> None:
        """At intervals, note the positions that are at the end, and check whether any lags for too long."""
        now = time.monotonic()
        if self._lost or (self._touched is not None and now - self._touched < self._settings.touch_interval):
            return
        self._touched = now
        positions = dict(self._positions)
        if not positions:
            return
        ends = await self._consumer.end_offsets(list(positions))
        await self._database.touch({tp: end for tp, end in ends.items() if end == positions[tp]})
        if await self._vanished.may_have(await self._database.positions(positions, self._topic_ids)):
            self._forget()

    async def _refused(self, change: Change, refusal: RowsRefused) -> None:
        """Try again while another try may help, then park the record."""
        tries = 1
        while refusal.unclear and tries < TRIES:
            await asyncio.sleep(FIRST_BACKOFF * 2**tries)
            tries += 1
            try:
                await self._write_together([change])
                return
            except RowsRefused as again:
                refusal = again
        await self._park([(change.record, MalformedRecord("refused_by_database", str(refusal)))])
        await self._write_together([change._replace(content=None)])

    async def _park(self, bad: Sequence[tuple[ConsumerRecord, MalformedRecord]]) -> None:
        """Park bad records; after a crash some may be parked again, with the same origin."""
        await self._producer.publish([parked(record, error) for record, error in bad])

    @property
    def _to_note(self) -> Mapping[TopicPartition, int]:
        """The positions that may be noted now: none while the group rebalances.

        A commit would name an outdated generation then, so that aiokafka would leave the group and join as a
        new member. Two busy sinks did so for ever.
        """
        return {} if self._joins else self._positions

    def _crash_if_told(self) -> None:
        self._commits += 1
        if self._commits == self._settings.crash_after_commit:
            os.kill(os.getpid(), signal.SIGKILL)

    # --- waiting ------------------------------------------------------------------------------------

    async def _wait(self, error: Exception) -> None:
        if self._waits_since is None:
            self._waits_since = time.monotonic()
            log.warning("writing waits", extra={"error": str(error)})
        self._forget()
        if isinstance(error, LockHeld):
            await self._end_frozen()
        delay = min(self._settings.max_backoff, FIRST_BACKOFF * 2**self._failures)
        self._failures += 1
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), delay)

    async def _end_frozen(self) -> None:
        try:
            ended = await self._database.end_frozen()
        except SinkUnavailable as error:
            log.info("frozen sessions could not be looked for", extra={"error": str(error)})
        else:
            if ended:
                log.warning("ended frozen sessions", extra={"sessions": ended})

    def _goes_on(self) -> None:
        """Count the database as available. It takes a full turn, because a full disk still allows reading."""
        self._failures = 0
        if self._waits_since is not None:
            waited = round(time.monotonic() - self._waits_since, 3)
            self._waits_since = None
            log.info("writing goes on", extra={"waited_seconds": waited})
            self._changed()


def _passes(error: KafkaError) -> bool:
    """Whether waiting helps, or starting over from the stored positions."""
    return error.retriable or isinstance(error, (KafkaTimeoutError, OffsetOutOfRangeError))
