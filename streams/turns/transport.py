"""The transport that hands an agent a partition's records as one event; knows Faust's inside, as `app` does.

Faust spends most of a worker's time on each record's own event, task, acknowledgement and future. Here a
poll's records of one partition travel as one event (`Batch`), so that cost is paid per batch. Groups,
assignment, tables, recovery and commits remain Faust's. Pinned to faust-streaming 0.15.3.

Theory of operation. `_drain_messages` polls the consumer thread (`thread.py`). Records of a changelog are
applied to their table at once, and Faust's recovery is shown the last of them (`_deliver`). Records of an
input become one `Batch` in the queues of the agents that read the topic (`_hand_on`). The backlog counts what
was handed on and is not acknowledged; while it is full, nothing is polled. When an agent has committed a turn
it acknowledges its batches (`ack`), which moves the offset that Faust commits.

A rebalance interrupts all of this in four steps. `stop_flow` marks the input positions as unknown. Running
turns are waited for (`wait_empty`). Recovery reads the changelogs, then `perform_seek` sets the inputs to
their committed offsets, or back to the beginning if the topic was created again (`domain.offsets.resume`).
`resume_flow` marks the positions as valid. Records that were polled in between are not handed on but fetched
again (`_put_back`).

Three things are stricter than in Faust, because an agent that drops the records its state already reflects
must see each partition in order and without holes:

- A partition's records are handed on gaplessly from the position that recovery has set. Faust resumes
  fetching before it seeks back after a rebalance, so a fetch in flight can bring later records, and Faust
  empties the agents' queues after that. Records that come before then are fetched again in their order.
- A partition without a committed offset starts from its beginning again after a rebalance, not from where
  the last fetch ended.
- An acknowledged batch is a whole range of offsets, ended by the next offset to read. There are no lists
  of single offsets and no gaps to declare.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence, Set
from typing import Any, ClassVar

from aiokafka import ConsumerRecord
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from domain.errors import ControlPlaneError
from streams.turns.backlog import Backlog
from streams.turns.batch import Batch
from streams.turns.thread import BatchConsumerThread

log = logging.getLogger("clusterflow.batches")

# How many times a partition is read again before its rest is taken to be only markers. This is more than
# the number of abandoned polls that there can be.
READ_AGAIN = 2

# Seconds between checks for partitions to fetch from while recovery has paused them all.
IDLE_SECONDS = 0.02


class LeaseLost(ControlPlaneError):
    """The group may have given this worker's partitions to others, so its memory cannot be trusted."""


class BatchConsumer(driver.Consumer):
    """Faust's consumer, delivering batches for agents and single records for tables."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._done: dict[TP, int] = {}  # next offset to commit
        self._backlog = Backlog()
        self.emptying = False  # whether a rebalance or a stop waits for turns to end
        self._room = asyncio.Event()
        self._sought_again: set[TP] = set()
        # By partition, an offset after which no records were found, and how many times it was read again.
        self._read_again: dict[TP, tuple[int, int]] = {}
        # How many times a rebalance has stopped the flow, and which of these a recovery has followed.
        self._interruptions = self._followed = 0
        self._sought = False  # whether input positions are those of the current assignment
        self._positioned = False  # and agents keep what they are handed

    def _new_consumer_thread(self) -> Any:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # --- fetching ---------------------------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        """Faust's fetch loop: poll, and hand on what was polled."""
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                await asyncio.sleep(0)
                await self._until_room()
                if self.flow_active and not self._get_active_partitions():
                    await asyncio.sleep(IDLE_SECONDS)
                    continue
                generation = self.app.consumer_generation_id
                records, active = await self._wait_next_records(timeout=1.0)
                if self.should_stop:
                    continue
                if not records:
                    await self._pass_markers(active or (), generation)
                    continue
                for tp, polled in records.items():
                    # A poll that began before a rebalance says nothing about the current positions.
                    current = self.flow_active and generation == self.app.consumer_generation_id
                    wanted = current and tp in (active or ())
                    wanted = wanted and (self._positioned or self._is_changelog_tp(tp))
                    unread = await self._hand_on(tp, polled) if wanted else polled
                    if unread:
                        await self._put_back(tp, unread)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except Exception as error:
            log.exception("fetching failed")
            await self.app.crash(error)
            raise

    async def _until_room(self) -> None:
        while self._backlog.full and not self.should_stop and self.flow_active:
            self._room.clear()
            await self.wait_first(self._room.wait(), self.suspend_flow.wait())

    async def _hand_on(self, tp: TP, polled: Sequence[ConsumerRecord]) -> Sequence[ConsumerRecord]:
        """Hand a partition's records on; return those that a rebalance has prevented from that."""
        if self._is_changelog_tp(tp):
            return await self._deliver(tp, polled)
        unread = await self._gapless(tp, polled)
        if not unread:
            return ()
        batch = Batch(tp, unread)
        message = self._to_message(tp, unread[0])
        message.value = batch
        self._backlog.add(tp, batch)
        if not await self._call(message):
            self._backlog.remove(tp, batch)
            return unread
        self._read_offset[tp] = batch.next_offset
        return ()

    async def _deliver(self, tp: TP, polled: Sequence[ConsumerRecord]) -> Sequence[ConsumerRecord]:
        """Apply a changelog's records to their table, then show Faust's recovery how far it has come.

        Recovery takes 60 µs for each record it is shown, and needs only the last one of a poll.
        Returns: the records, if a rebalance interrupted; those applied are dropped when they come again.
        """
        read = self._read_offset[tp]
        unread = [record for record in polled if read is None or record.offset >= read]
        if not unread:
            return ()
        self.app.tables._changelogs[tp.topic].data.apply(unread)
        if not await self._call(self._to_message(tp, unread[-1])):
            return unread
        self._read_offset[tp] = unread[-1].offset + 1
        return ()

    async def _put_back(self, tp: TP, unread: Sequence[ConsumerRecord]) -> None:
        """Have records fetched again that were polled and not handed on.

        A poll moves aiokafka's position past what it returns. If recovery had sought before the poll
        returned, nothing else seeks back. Records that come twice are dropped by their offset.
        """
        await self._thread.fetch_again(tp, unread)
        await asyncio.sleep(IDLE_SECONDS)

    async def _call(self, message: Any) -> bool:
        """Hand a message to its channels; False if a rebalance began before it was handed on."""
        if not self.flow_active:
            return False
        queue = self.app.tables.changelog_queue
        generation = self.app.consumer_generation_id
        if self.app.flow_control.is_active() and not self.suspend_flow.is_set() and not queue.full():
            await self.callback(message)
            return True
        await self.wait_first(self.callback(message), self.suspend_flow.wait())
        return not self.suspend_flow.is_set() and generation == self.app.consumer_generation_id

    async def _gapless(self, tp: TP, polled: Sequence[ConsumerRecord]) -> Sequence[ConsumerRecord]:
        """The part of a poll that continues where the last one ended; empty if it must be fetched again."""
        expected = self._read_offset[tp]
        if expected is None or polled[0].offset == expected:
            self._sought_again.discard(tp)
            return polled
        if polled[0].offset < expected:
            return [record for record in polled if record.offset >= expected]
        if tp in self._sought_again:
            # We asked for exactly `expected` and still got a later record, so the log itself has a hole
            # there (retention, or the marker of a foreign transaction).
            self._sought_again.discard(tp)
            return polled
        self._sought_again.add(tp)
        await self.seek(tp, expected)
        return ()

    async def _pass_markers(self, active: Iterable[TP], generation: int) -> None:
        """Treat the end of a partition as read if only markers and aborted records precede it.

        No record comes that would move our position, so the group would seem to lag for ever. A fetch
        position that is ahead does not prove it, because an abandoned poll, after a rebalance has restarted
        this loop, takes records and moves that position too. So the partition is read again from our own
        position, and only if that brings nothing several times does its end count as read.
        """
        inputs = [tp for tp in active if not self._is_changelog_tp(tp) and tp not in self._backlog]
        if self._backlog or not self._positioned or not inputs:
            return
        positions = await self._thread.fetch_positions(inputs)
        for tp, position in positions.items():
            if not self._positioned or generation != self.app.consumer_generation_id:
                return
            expected = self._read_offset[tp]
            if expected is None or position <= expected:
                continue
            known, times = self._read_again.get(tp, (expected, 0))
            if known == expected and times == READ_AGAIN:
                self._read_offset[tp] = self._done[tp] = position
                del self._read_again[tp]
            else:
                self._read_again[tp] = (expected, times + 1 if known == expected else 1)
                await self._seek(tp, expected)

    # --- positions --------------------------------------------------------------------------------

    async def perform_seek(self) -> None:
        """Seek to the committed offsets, or to the beginning without one, before streams resume.

        A recovery that another rebalance has overtaken may still come this far, and Faust then resumes a flow
        that the other one has stopped. Its seek says nothing about the positions: records that came through
        would be in the agents' queues when the recovery of the other one empties them, and lost.
        """
        begun = self._interruptions

        def uninterrupted() -> bool:
            return begun == self._interruptions == self._followed

        self._sought_again.clear()
        self._read_again.clear()
        self._done.clear()
        self._backlog.clear()
        self._room.set()
        inputs = [tp for tp in self.assignment() if not self._is_changelog_tp(tp)]
        resumed = await self._thread.resume_inputs(inputs, uninterrupted)
        if not uninterrupted():
            return
        positions = {tp: at.offset for tp, at in resumed.items()}
        self._read_offset.update(positions)
        self._committed_offset.update(positions)
        self._sought = True

    def recovery_begins(self) -> None:
        """The recovery of what the last rebalance has brought begins."""
        self._followed = self._interruptions

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """A rebalance has begun. If our lease has run out, the group went on without us; end the worker."""
        if revoked and not self.app.lease.held:
            await self.app.crash(LeaseLost("the group has gone on without this worker"))
            return
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Take partitions over. Faust sends no heartbeat meanwhile, so the lease bounds how long it takes."""
        try:
            async with asyncio.timeout(self.app.lease.left):
                await super().on_partitions_assigned(assigned, generation_id)
        except TimeoutError:
            await self.app.crash(LeaseLost("taking partitions over took longer than the group waits"))

    async def _wait_for_ack(self, timeout: float) -> None:
        """Wait for turns to end before a rebalance. Without the lease they never can, so end the worker."""
        if not self.app.lease.held:
            await self.app.crash(LeaseLost("a turn took longer than the group waits"))
        await super()._wait_for_ack(timeout)

    def stop_flow(self) -> None:
        """A rebalance has begun: records fetched from now on count only after recovery has sought."""
        self._interruptions += 1
        self._sought = self._positioned = False
        super().stop_flow()

    def resume_flow(self) -> None:
        """Recovery continues, or has ended.

        Faust has just emptied the agents' queues, some rounds of the loop after it sought. Records handed on
        in between would have been lost, so inputs count as positioned only now.
        """
        self._positioned = self._sought
        super().resume_flow()

    async def _seek(self, partition: TP, offset: int) -> None:
        await self._thread.fetch_from(partition, offset)

    # --- acknowledging ----------------------------------------------------------------------------

    def ack(self, message: Any) -> bool:
        """Mark a batch as done. Agents take batches in order, so its end is the partition's position."""
        if message.acked:
            return False
        message.acked = True
        self._unacked_messages.discard(message)
        batch = message.value
        if isinstance(batch, Batch):
            self._backlog.acknowledged(message.tp, batch)
            self._room.set()
            if message.generation_id == self.app.consumer_generation_id:
                self._done[message.tp] = batch.next_offset
        self._look_whether_empty()
        return True

    def forget(self, messages: Iterable[Any]) -> None:
        """Stop waiting for batches that were given up; they remain unacknowledged."""
        for message in messages:
            self._unacked_messages.discard(message)
        self._look_whether_empty()

    def _look_whether_empty(self) -> None:
        waiting = self._waiting_for_ack
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def wait_empty(self) -> None:
        """Wait for turns to end before a rebalance or a stop, except on partitions without a leader."""
        self.emptying = True
        self.app.give_up_held()
        try:
            await super().wait_empty()
        finally:
            self.emptying = False

    def stalled(self, *, after: float) -> bool:
        """Whether agents hold records and have acknowledged none for `after` seconds."""
        return self._backlog.stalled(after=after)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Off: Faust would report changelog partitions that remain paused. `stalled` checks the work."""

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Any:
        return [tp for tp in self._done if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: TP) -> int | None:
        return self._done.pop(tp, None)

    # --- pausing ----------------------------------------------------------------------------------

    def hold(self, tps: Set[TP]) -> None:
        """Stop fetching partitions that wait for a leader, and count their records apart from the others'."""
        self._backlog.hold(tps)
        self._room.set()
        self.pause_partitions(tps & self.assignment())

    def release(self, tps: Set[TP]) -> None:
        """Fetch again; during a rebalance Faust does so once it has sought."""
        self._backlog.release(tps)
        if self._positioned:
            self.resume_partitions(tps & self.assignment())

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        """Stop fetching, in aiokafka too: an unread changelog record would delay each fetch by 100 ms."""
        paused = set(tps)
        super().pause_partitions(paused)
        self._thread.pause_fetching(paused)

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Fetch again."""
        resumed = set(tps)
        super().resume_partitions(resumed)
        self._thread.resume_fetching(resumed)


class BatchTransport(driver.Transport):
    """Faust's aiokafka transport with the consumer above."""

    Consumer: ClassVar[Any] = BatchConsumer
