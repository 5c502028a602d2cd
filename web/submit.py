"""Commands from the web edge: publish one, wait for its result, and for this process's view to show it.

What comes within one round of the event loop is published together; nobody waits for company longer than
that. Each write is settled by its own partition: one without a leader holds up no write to the others, and is
sent no more writes while it does not acknowledge those that it was sent.

Results come over a group-less tail of the result topic and are matched by command id. Whoever waits
then waits until the view holds the revision that the result names: a client reads its own write here.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from aiokafka import ConsumerRecord

from domain.cluster.commands import Command, Create
from domain.cluster.names import name_key
from domain.errors import Rejected, Unavailable, Unconfirmed
from streams.codec import BY_REST, KEYED, TRIGGERED_BY, encode, message_of
from streams.kafka.partitions import partition_of
from streams.messages import ReportMessage, ResultMessage
from streams.topics import Topics
from streams.writing.outputs import Headers, Output, RecordPosition
from streams.writing.producer import Producer
from tables.cluster import ClusterView
from web.health.monitor import HealthMonitor

log = logging.getLogger("clusterflow.api_server")

UNKNOWN: Final = "The write was not confirmed in time; its outcome is unknown"

MAX_WAITING: Final = 10_000
"""Writes in flight per process; beyond, new ones are turned away at once instead of queueing up."""

ACKNOWLEDGED_WITHIN: Final = 3.0
"""Seconds for Kafka to take a record, which needs milliseconds; longer means that it or a partition is away.

It is longer than `streams.kafka.unavailable.UNACKNOWLEDGED_AFTER`, so that a writer that gives up is told
which.
"""


class _Write:
    """A write on its way: `ended` is done once it is decided and shown, or when it has failed.

    Attributes:
        answered_by: What the record of its result has to bear.
    """

    __slots__ = ("answered_by", "cluster_id", "ended", "output", "result", "stored")

    def __init__(self, output: Output, cluster_id: str, answered_by: Headers) -> None:
        self.output = output
        self.cluster_id = cluster_id
        self.answered_by = answered_by
        self.stored = False  # acknowledged by Kafka, or decided, which is as good
        self.result: ResultMessage | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """End it, unless it has ended."""
        if not self.ended.done():
            self.ended.set_exception(error)

    def overdue(self) -> None:
        """End it for want of an outcome."""
        self.fail(Unconfirmed(UNKNOWN) if self.stored else Unavailable(UNKNOWN))


_result_decoder = msgspec.json.Decoder(ResultMessage)
_OF_COMMANDS: Final[Headers] = [(TRIGGERED_BY, BY_REST.encode())]
_OF_REPORTS: Final[Headers] = []


def _answers(record: ConsumerRecord, write: _Write) -> bool:
    """Whether a result is of this write, and not of one that only bears its id."""
    return record.key == write.cluster_id.encode() and all(
        header in record.headers for header in write.answered_by
    )


class Submitter:
    """Sends commands and reports into the stream and brings their outcome back."""

    def __init__(
        self,
        *,
        producer: Producer,
        view: ClusterView,
        health: HealthMonitor,
        topics: Topics,
        timeout: timedelta,
    ) -> None:
        self._producer = producer
        self._view = view
        self._health = health
        self._topics = topics
        self._timeout = timeout.total_seconds()
        # Several may wait for one id: a controller that repeats its report while the first is under way.
        self._waiting: dict[str, list[_Write]] = {}
        self._round: list[_Write] = []
        self._publishing: set[asyncio.Task[None]] = set()

    def on_result(self, record: ConsumerRecord) -> None:
        """Take over a record of the result topic; those of others are not even decoded."""
        header = next((value for name, value in record.headers if name == "command_id"), b"")
        command_id = header.decode(errors="replace")
        waiting = self._waiting.get(command_id)
        if waiting is None or record.value is None:
            self._health.outcomes.came_late(command_id)
            return
        # The same id may stand on what somebody else has sent over Kafka, or of another cluster.
        answered = [write for write in waiting if _answers(record, write)]
        if not answered:
            return
        result = _result_decoder.decode(record.value)
        self._health.outcomes.came()
        for write in answered:
            if write.result is None and not write.ended.done():
                write.result, write.stored = result, True
                if result.code is None:
                    self._view.when_shown(write.cluster_id, result.revision, write.ended)
                else:
                    write.ended.set_result(None)

    async def submit(self, command: Command) -> ResultMessage:
        """Have a command decided.

        Returns: The result of an applied (or repeated) command, visible in this process's view.
        Raises:
            Rejected: with the agent's code, text and details.
            Unavailable: Kafka is away, or the command's partition has no leader that answers.
            Unconfirmed: no result came in time; the command is in its topic and will be decided.
        """
        message = message_of(command, issued_at=datetime.now(UTC))
        if isinstance(command, Create):
            topic, key = self._topics.name_requests, name_key(command.user_email, command.name)
        else:
            topic, key = self._topics.accepted_commands, command.cluster_id
        headers = {"content_type": "application/json", "triggered_by": command.triggered_by}
        if command.request_id:
            headers["request_id"] = command.request_id
        if command.keyed:
            headers[KEYED] = "true"
        output = Output(topic, key.encode(), encode(message), headers)
        return await self._outcome(output, command.command_id, command.cluster_id, _OF_COMMANDS)

    async def report(self, report: ReportMessage, *, request_id: str) -> ResultMessage:
        """Have a status report decided; like `submit`, and `stale` is a result too."""
        assert report.report_id is not None
        headers = {"content_type": "application/json", "answer": "true", "request_id": request_id}
        output = Output(self._topics.reports, report.cluster_id.encode(), encode(report), headers)
        return await self._outcome(output, report.report_id, report.cluster_id, _OF_REPORTS)

    async def _outcome(
        self, output: Output, command_id: str, cluster_id: str, answered_by: Headers
    ) -> ResultMessage:
        self._health.require_kafka()
        if self._health.unavailable:
            self._require_leader(output)
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable("Too many writes are waiting")
        write = _Write(output, cluster_id, answered_by)
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
            self._view.forget(cluster_id, write.ended)
            self._waiting[command_id].remove(write)
            if not self._waiting[command_id]:
                del self._waiting[command_id]
        result = write.result
        assert result is not None
        if result.code is not None:
            raise Rejected(result.code, result.error or result.code, **(result.details or {}))
        return result

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
                write.fail(Unavailable(self._why_unknown(write.output)))
        except Exception as error:
            for write in writes:
                if not write.stored:
                    write.fail(error)

    def _stored(self, writes: Sequence[_Write]) -> None:
        """Note that Kafka has these. One that was given up is not counted: nobody awaits its result."""
        self._health.outcomes.sent(sum(write.result is None and not write.ended.done() for write in writes))
        for write in writes:
            write.stored = True

    def _require_leader(self, output: Output) -> None:
        """Raises: Unavailable: its partition acknowledges nothing now, so one more record would only wait."""
        if (why := self._no_leader(output)) is not None:
            raise Unavailable(f"{why}; nothing was written, repeat it")

    def _why_unknown(self, output: Output) -> str:
        why = self._no_leader(output)
        if why is None or not self._health.kafka_healthy:
            return UNKNOWN
        return f"{why}; the outcome of this write is unknown, repeat it"

    def _no_leader(self, output: Output) -> str | None:
        """Which partition is unavailable, to the writer of a record for it; None if the record's is not."""
        topic, key = output.topic, output.key
        partitions = self._producer.partitions(topic)
        unavailable = self._health.unavailable
        if key is None or not partitions or (topic, partition_of(key, partitions)) not in unavailable:
            return None
        if all((topic, number) in unavailable for number in range(partitions)):
            return "No partition has a leader that answers or takes writes"
        what = "name" if topic == self._topics.name_requests else "cluster"
        return f"The partition of this {what} has no leader that answers or takes writes, while others have"
