"""The name agent: lets the first create of a name through to its cluster and rejects the others.

`cluster-create-requests` → name table → `cluster-commands` (admitted) or
`cluster-command-results` (rejected).
"""

from collections import defaultdict, deque
from typing import Any, Final

from aiokafka import ConsumerRecord

from agents.guard import guarded, require_passable
from agents.placement import Placement
from agents.results import NAME_ADMITTED, decided, result_output
from domain.commands import Create
from domain.errors import MalformedRecord, Rejected
from domain.names import NameRecord, admit, freed, name_key, releases, turned_away
from domain.policy import Policy
from streams.app import BatchApp, add_agent
from streams.batches import MAX_BACKLOG
from streams.codec import from_millis, is_held, read_create_request
from streams.messages import ReleaseMessage, ResultMessage
from streams.producer import Output, Producer
from streams.settings import KafkaSettings
from streams.turn import Turn, headers_of, take_turns
from tables.typed import TypedTable

# Records of a partition that a crash may bring again: what agents hold unacknowledged, with room to spare.
REDELIVERED_AT_MOST: Final = 2 * MAX_BACKLOG


class NameAgent:
    """Decides creates and releases over the name table."""

    def __init__(
        self, *, kafka: KafkaSettings, names: TypedTable[NameRecord], producer: Producer, policy: Policy
    ) -> None:
        self._topics = kafka.topics
        self._names = names
        self._producer = producer
        self._policy = policy
        self._placement = Placement(kafka.partitions, names)
        self._freed: defaultdict[int, deque[tuple[int, bytes]]] = defaultdict(deque)
        names.on_recovered(self._collect_freed)

    async def run(self, stream: Any) -> None:
        """The agent's loop: turns until the app stops."""
        async for turn in take_turns("names", stream, self._names, self._producer):
            for record in turn.records():
                guarded(turn, record, self._handle)
                self._forget(turn, record)
            await turn.commit()

    def _forget(self, turn: Turn[NameRecord], record: ConsumerRecord) -> None:
        """Drop the freed names that no record still to be redelivered, nor a keyed repeat, can ask for."""
        old = self._freed[record.partition]
        while old and old[0][0] < record.offset - REDELIVERED_AT_MOST:
            _, key = old.popleft()
            name = turn.get(record.partition, key)
            if name is None or name.held:
                continue
            kept = name.without_old(from_millis(record.timestamp))
            if kept.refused:
                old.append((record.offset, key))
                if kept.refused != name.refused:
                    turn.put(record.partition, key, kept)
            else:
                turn.put(record.partition, key, None)

    def _collect_freed(self) -> None:
        for partition in self._names.take_recovered():
            rows = self._names.rows(partition).items()
            names = ((key, self._names.decode(data)) for key, data in rows if not is_held(data))
            offsets = ((max(name.offsets.values()), key) for key, name in names)
            self._freed[partition] = deque(sorted(offsets))

    def _handle(self, turn: Turn[NameRecord], record: ConsumerRecord) -> None:
        if (misplaced := self._placement.correction(record)) is not None:
            turn.publish(misplaced)
            return
        message = read_create_request(record.value, headers_of(record))
        holder = turn.get(record.partition, record.key)
        if holder is not None and holder.offsets.get(record.topic, -1) >= record.offset:
            return  # redelivered: this state already reflects it
        match message:
            case ReleaseMessage(cluster_id=cluster_id):
                if releases(holder, cluster_id.lower()):
                    assert holder is not None
                    turn.put(record.partition, record.key, freed(holder, {record.topic: record.offset}))
                    self._freed[record.partition].append((record.offset, record.key))
            case Create():
                if record.key != name_key(message.user_email, message.name).encode():
                    raise MalformedRecord("bad_key", "the key must be <user_email>/<name>")
                self._admit(turn, record, message, holder)

    def _admit(
        self, turn: Turn[NameRecord], record: ConsumerRecord, command: Create, holder: NameRecord | None
    ) -> None:
        key = command.cluster_id.encode()
        try:
            admit(holder, command, self._policy)
        except Rejected as refusal:
            result = ResultMessage(
                command_id=command.command_id,
                outcome="rejected",
                code=refusal.code,
                error=refusal.text,
                details=dict(refusal.details),
            )
            turn.publish(result_output(self._topics.results, key, result))
            decided("create", "rejected").inc()
            if command.keyed and holder is not None and refusal.code == "CLUSTER_NAME_EXISTS":
                self._remember(turn, record, command, holder)
            return
        headers = {**headers_of(record), NAME_ADMITTED: "true"}
        # Else a name would be given to what the commands' topic, or their agent, does not take.
        require_passable(key, record.value, [(name, text.encode()) for name, text in headers.items()])
        turn.publish(Output(self._topics.commands, key, record.value, headers))
        held = NameRecord(
            cluster_id=command.cluster_id,
            command_id=command.command_id,
            offsets={record.topic: record.offset},
            refused=holder.refused if holder is not None else {},
        )
        turn.put(record.partition, record.key, held)

    def _remember(
        self, turn: Turn[NameRecord], record: ConsumerRecord, command: Create, holder: NameRecord
    ) -> None:
        at, offsets = from_millis(record.timestamp), {record.topic: record.offset}
        turn.put(record.partition, record.key, turned_away(holder, command, at=at, offsets=offsets))
        if not holder.held:
            self._freed[record.partition].append((record.offset, record.key))


def attach(
    app: BatchApp,
    *,
    kafka: KafkaSettings,
    names: TypedTable[NameRecord],
    producer: Producer,
    policy: Policy,
) -> None:
    """Add the agent to the app."""
    agent = NameAgent(kafka=kafka, names=names, producer=producer, policy=policy)
    add_agent(app, "names", (kafka.topics.create_requests,), agent.run)
