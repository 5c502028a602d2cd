"""Commands from the web edge: publish one, wait for its result, and for this process's view to show it.

What comes within one round of the event loop is published together; nobody waits for company longer than
that. Each write is settled by its own partition: one without a leader holds up no write to the others, and is
sent no more writes while it does not acknowledge those that it was sent.

A write that is applied is answered by the state that it led to: the record in the changelog names the
command, and the view of its kind shows the record, so a client reads its own write here. Everything else
comes as a result over a group-less tail of the result topics, matched by topic, key and command id: refusals,
repeats, stale reports, and a write whose state was replaced in the same turn. After such a result a write
waits until the view holds the revision that it names, which may be stored a moment later. What is a kind's
own about all this is in a `Destination`, so a submitter serves every kind.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
from aiokafka import ConsumerRecord
from msgspec import UNSET, Raw, Struct, UnsetType

from domain.errors import Rejected, Unavailable, Unconfirmed, Untaken
from serving.monitor import HealthMonitor
from streams.headers import answered_command
from streams.kafka.partitions import partition_of
from streams.messages import ResultKind
from streams.writing.outputs import Headers, Output, RecordPosition
from streams.writing.producer import Producer
from tables.view import Entry, View

log = logging.getLogger("clusterflow.api_server")

UNKNOWN: Final = "The write was not confirmed in time; its outcome is unknown"

MAX_WAITING: Final = 10_000
"""Writes in flight per process; beyond, new ones are turned away at once instead of queueing up."""

ACKNOWLEDGED_WITHIN: Final = 3.0
"""Seconds for Kafka to take a record, which needs milliseconds; longer means that it or a partition is away.

It is longer than `streams.kafka.unavailable.UNACKNOWLEDGED_AFTER`, so that a writer that gives up is told
which.
"""


class WriteResult(Struct, kw_only=True):
    """What became of a write, as far as its caller is answered by it; see `streams.messages.ResultMessage`.

    Attributes:
        version: Of the entity after the write, as `ETag` has it; 0 where a result does not say it.
        document: The entity as it is after the write, absent when that was rejected or has deleted it.
        deferred: Whether the write is stored and not decided yet; then the document is what it should become.
    """

    command_id: str
    outcome: ResultKind
    revision: int = 0
    code: str | None = None
    error: str | None = None
    details: dict[str, Any] | None = None
    version: int | str = 0
    document: Raw | UnsetType = UNSET
    deferred: bool = False


def results_showing(member: str) -> Callable[[bytes], WriteResult]:
    """A decoder of the results of a kind that shows its entities under this member."""
    document = ("document", Raw | UnsetType, msgspec.field(name=member, default=UNSET))
    type_: Any = msgspec.defstruct("Result", [document], bases=(WriteResult,), kw_only=True)
    decode: Callable[[bytes], WriteResult] = msgspec.json.Decoder(type_).decode
    return decode


class Destination(NamedTuple):
    """Where the writes of a kind end up, and how their outcomes come back.

    Attributes:
        view: Shows what they led to.
        results: The topic of their results.
        decode: Reads a value of that topic.
        subject: What the partitions of their records are of, in a sentence for people.
        answered_by: Headers that the record of a result must have beside the id.
    """

    view: View[Any]
    results: str
    decode: Callable[[bytes], WriteResult]
    subject: str
    answered_by: Headers


class _Write:
    """A write on its way: `ended` is done once it is decided and shown, or when it has failed."""

    __slots__ = ("destination", "ended", "entity_id", "output", "result", "stored")

    def __init__(self, destination: Destination, output: Output, entity_id: str) -> None:
        self.destination = destination
        self.output = output
        self.entity_id = entity_id
        self.stored = False  # acknowledged by Kafka, or decided, which is as good
        self.result: WriteResult | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """End it, unless it has ended."""
        if not self.ended.done():
            self.ended.set_exception(error)

    def overdue(self) -> None:
        """End it for want of an outcome."""
        self.fail(Unconfirmed(UNKNOWN) if self.stored else Unavailable(UNKNOWN))

    def takes(self, result: WriteResult) -> bool:
        """Whether this is its outcome, or says better when that is shown.

        After a crash the same outcome may come with another revision. A repeat comes with another state.
        """
        return self.result is None or result.outcome != "duplicate"

    def answered_by(self, record: ConsumerRecord) -> bool:
        """Whether a result is of this write, and not of one that only bears its id."""
        destination = self.destination
        return (
            record.topic == destination.results
            and record.key == self.entity_id.encode()
            and all(header in record.headers for header in destination.answered_by)
        )


def _applied(command_id: str, entry: Entry | None) -> WriteResult:
    """What became of a write whose state has come; `entry` is None where it has deleted the entity."""
    result = WriteResult(command_id=command_id, outcome="applied")
    if entry is not None:
        result.version, result.document = entry.version, Raw(entry.document)
    return result


class Submitter:
    """Sends writes into the stream and brings their outcomes back."""

    def __init__(self, *, producer: Producer, health: HealthMonitor, timeout: timedelta) -> None:
        self._producer = producer
        self._health = health
        self._timeout = timeout.total_seconds()
        # Several may wait for one id: a controller that repeats its report while the first is under way.
        self._waiting: dict[str, list[_Write]] = {}
        self._round: list[_Write] = []
        self._publishing: set[asyncio.Task[None]] = set()

    def on_result(self, record: ConsumerRecord) -> None:
        """Take over a record of a result topic; those of others are not even decoded."""
        command_id = answered_command(record)
        waiting = self._waiting.get(command_id)
        if waiting is None or record.value is None:
            self._health.outcomes.came_late(command_id)
            return
        # The same id may be on what somebody else has sent over Kafka, or be of another entity.
        answered = [write for write in waiting if write.answered_by(record)]
        if not answered:
            return
        result = answered[0].destination.decode(record.value)
        self._health.outcomes.came()
        for write in answered:
            if not write.ended.done() and write.takes(result):
                write.result, write.stored = result, True
                # A refusal, too, is based on a state that its sender must find wherever it asks next. The
                # state may have come in the same turn, and be stored after this result was published.
                write.destination.view.when_shown(write.entity_id, result.revision, write.ended)

    def follow(self, view: View[Any]) -> None:
        """Have the changelog behind a view answer the writes that it shows."""
        view.on_answer = partial(self._on_answer, view)

    def _on_answer(self, view: View[Any], command_id: str, entity_id: str, entry: Entry | None) -> None:
        waiting = self._waiting.get(command_id)
        if waiting is None:
            self._health.outcomes.came_late(command_id)
            return
        for write in waiting:
            mine = write.destination.view is view and write.entity_id == entity_id
            if mine and not write.ended.done():
                write.result, write.stored = _applied(command_id, entry), True
                write.ended.set_result(None)
                self._health.outcomes.came()

    async def submit(
        self, destination: Destination, output: Output, *, command_id: str, entity_id: str
    ) -> WriteResult:
        """Have a write decided.

        Args:
            command_id: The id that its result will bear.
            entity_id: The key of its result and of the state it changes.

        Returns: The result of a write that was not rejected, visible in its view.
        Raises:
            Rejected: with the agent's code, text and details.
            Unavailable: Kafka is away, or the record's partition has no leader that answers.
            Unconfirmed: no result came in time; the record is in its topic and will be decided.
        """
        self._health.require_kafka()
        if self._health.unavailable:
            self._require_leader(destination, output)
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable("Too many writes are waiting")
        write = _Write(destination, output, entity_id)
        self._waiting.setdefault(command_id, []).append(write)
        self._publish_soon(write)
        overdue = asyncio.get_running_loop().call_later(self._timeout, write.overdue)
        try:
            await write.ended
        except Unconfirmed:
            self._health.outcomes.missed(command_id)
            raise
        finally:
            overdue.cancel()
            destination.view.forget(entity_id, write.ended)
            self._waiting[command_id].remove(write)
            if not self._waiting[command_id]:
                del self._waiting[command_id]
        result = write.result
        assert result is not None
        if result.code is not None:
            raise Rejected(result.code, result.error or result.code, **(result.details or {}))
        return result

    async def send(self, outputs: Sequence[Output]) -> None:
        """Send records whose outcome nobody waits for; they are in their topics afterwards.

        Raises: Unavailable: Kafka is away, or does not acknowledge them.
        """
        self._health.require_kafka()
        try:
            async with asyncio.timeout(ACKNOWLEDGED_WITHIN):
                await self._producer.publish(outputs)
        except TimeoutError:
            raise Unavailable(UNKNOWN) from None

    def _publish_soon(self, write: _Write) -> None:
        """Publish it with all others of this round."""
        if not self._round:
            publishing = asyncio.create_task(self._publish_round())
            self._publishing.add(publishing)
            publishing.add_done_callback(self._publishing.discard)
        self._round.append(write)

    async def _publish_round(self) -> None:
        writes, self._round = self._round, []

        def acknowledged(places: Mapping[int, RecordPosition]) -> None:
            self._stored([writes[number] for number in places])

        try:
            async with asyncio.timeout(ACKNOWLEDGED_WITHIN):
                await self._producer.publish([write.output for write in writes], acknowledged=acknowledged)
        except (TimeoutError, Unavailable) as error:
            left = [write for write in writes if not write.stored]
            log.warning("writes not acknowledged", extra={"number": len(left), "error": repr(error)})
            for write in left:  # the client's own words tell callers what Kafka is and where
                write.fail(Untaken(self._why_unknown(write)))
        except Exception as error:
            for write in writes:
                if not write.stored:
                    write.fail(error)

    def _stored(self, writes: Sequence[_Write]) -> None:
        """Note that Kafka has these. One that was given up is not counted: nobody awaits its result."""
        self._health.outcomes.sent(sum(write.result is None and not write.ended.done() for write in writes))
        for write in writes:
            write.stored = True

    def _require_leader(self, destination: Destination, output: Output) -> None:
        """Raises: Unavailable: its partition acknowledges nothing now, so one more record would only wait."""
        if (why := self._no_leader(destination, output)) is not None:
            raise Untaken(f"{why}; nothing was written, repeat it")

    def _why_unknown(self, write: _Write) -> str:
        why = self._no_leader(write.destination, write.output)
        if why is None or not self._health.kafka_healthy:
            return UNKNOWN
        return f"{why}; the outcome of this write is unknown, repeat it"

    def _no_leader(self, destination: Destination, output: Output) -> str | None:
        """Which partition is unavailable, to the writer of a record for it; None if the record's is not."""
        topic, key = output.topic, output.key
        partitions = self._producer.partitions(topic)
        unavailable = self._health.unavailable
        if key is None or not partitions or (topic, partition_of(key, partitions)) not in unavailable:
            return None
        if all((topic, number) in unavailable for number in range(partitions)):
            return "No partition has a leader that answers or takes writes"
        return (
            f"The partition of this {destination.subject} has no leader that answers or takes writes,"
            " while others have"
        )
