"""The name agent: lets the first create of a name through to its cluster and rejects the others.

`cluster-create-requests` → `cluster-name-requests` → name table → `cluster-accepted-commands` (admitted) or
`cluster-command-results` (rejected).

Clients may write only the first of these topics. Releases of names and admitted creates travel on internal
topics, because this agent cannot check them: the state they refer to is a cluster's, in another partition. A
client's create is forwarded to the topic in which creates and releases have one order. If a crash forwards
it twice, the header `ORIGIN` identifies the second one.
"""

import logging
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from aiokafka import ConsumerRecord

from agents.guard import guarded, pass_on, require_passable
from agents.placement import Placement
from agents.results import decided, result_output
from domain.cluster.commands import Create
from domain.cluster.names import NameRecord, admit, freed, name_key, releases, turned_away
from domain.errors import MalformedRecord, Rejected
from domain.offsets import Seen, offset_in
from domain.policy import Policy
from domain.values import replace
from streams.cluster.codec import is_held, read_create_request, read_name_request
from streams.cluster.messages import ReleaseMessage, ResultMessage
from streams.headers import BY_REST, ORIGIN, headers_of
from streams.settings import KafkaSettings
from streams.turns.app import BatchApp, add_agent
from streams.turns.backlog import MAX_BACKLOG
from streams.turns.turn import Here, take_turns
from streams.writing.outputs import Output
from streams.writing.producer import Producer
from tables.typed import TypedTable

log = logging.getLogger("clusterflow.name_service")

# How many records of a partition a crash may deliver again: twice what agents may hold unacknowledged.
MAX_REDELIVERED: Final = 2 * MAX_BACKLOG


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
        self._handlers = {
            self._topics.create_requests: self._pass_on,
            self._topics.name_requests: self._decide,
        }
        names.on_recovered(self._collect_freed)

    async def run(self, stream: Any) -> None:
        """Take turns until the app stops."""
        async for turn in take_turns("names", stream, self._names, self._producer):
            for record in turn.records():
                here = Here(turn, record)
                guarded(here, self._handlers[record.topic])
                if record.topic == self._topics.name_requests:
                    self._forget(here)
            await turn.commit()

    def _forget(self, here: Here[NameRecord]) -> None:
        """Drop freed names that no redelivered record and no repeat of a keyed create can ask for."""
        record = here.record
        old = self._freed[record.partition]
        while old and old[0][0] < record.offset - MAX_REDELIVERED:
            _, key = old.popleft()
            name = here.get(key)
            if name is None or name.held:
                continue
            kept = name.without_old(here.at)
            if kept.refused:
                old.append((record.offset, key))
                if kept.refused != name.refused:
                    here.put(kept, key)
            else:
                here.put(None, key)

    def _collect_freed(self) -> None:
        for partition in self._names.take_recovered():
            rows = self._names.rows(partition).items()
            topic = self._topics.name_requests
            offsets = ((offset_in(name.offsets, topic), key) for key, name in self._free_names(rows))
            self._freed[partition] = deque(sorted(offsets))

    def _free_names(self, rows: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, NameRecord]]:
        """The names that are free; unreadable records are skipped."""
        for key, data in rows:
            try:
                if not is_held(data):
                    yield key, self._names.decode(data)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                log.error(
                    "recovered name cannot be read",
                    extra={"key": key.decode(errors="replace"), "error": type(error).__name__},
                )

    def _pass_on(self, here: Here[NameRecord]) -> None:
        """Forward a client's create to the topic in which creates and releases have one order."""
        record = here.record
        if (misplaced := self._placement.correction(record)) is not None:
            here.publish(misplaced)
            return
        _require_key(record, read_create_request(record.value, headers_of(record)))
        pass_on(here, self._topics.name_requests)

    def _decide(self, here: Here[NameRecord]) -> None:
        record = here.record
        headers = headers_of(record)
        message = read_name_request(record.value, headers)
        holder = here.get()
        seen = Seen.of(here.log, record.offset, headers.get(ORIGIN))
        if holder is not None and seen.held_by(holder.offsets):
            return
        match message:
            case ReleaseMessage(cluster_id=cluster_id):
                if releases(holder, cluster_id.lower()):
                    assert holder is not None
                    here.put(freed(holder, here.log, record.offset))
                    self._freed[record.partition].append((record.offset, record.key))
            case Create():
                _require_key(record, message)
                self._admit(here, message, holder, seen)

    def _admit(
        self,
        here: Here[NameRecord],
        command: Create,
        holder: NameRecord | None,
        seen: Seen,
    ) -> None:
        record = here.record
        key = command.cluster_id.encode()
        try:
            admit(holder, command, self._policy)
        except Rejected as refusal:
            self._refuse(here, key, command, refusal)
            if holder is not None and refusal.code == "CLUSTER_NAME_EXISTS":
                self._remember(here, command, holder, seen)
            return
        # The cluster's agent does not need to know the record's origin.
        headers = {name: text for name, text in headers_of(record).items() if name != ORIGIN}
        require_passable(key, record.value, [(name, text.encode()) for name, text in headers.items()])
        here.publish(Output(self._topics.accepted_commands, key, record.value, headers))
        held = NameRecord(
            cluster_id=command.cluster_id,
            command_id=command.command_id,
            offsets=seen.noted(holder.offsets if holder is not None else {}),
            refused=holder.refused if holder is not None else {},
        )
        here.put(held)

    def _refuse(self, here: Here[NameRecord], key: bytes, command: Create, refusal: Rejected) -> None:
        result = ResultMessage(
            command_id=command.command_id,
            outcome="rejected",
            code=refusal.code,
            error=refusal.text,
            details=dict(refusal.details),
        )
        by_rest = command.triggered_by == BY_REST
        here.publish(result_output(self._topics.results, key, result, by_rest=by_rest))
        decided("cluster", "create", "rejected").inc()

    def _remember(
        self,
        here: Here[NameRecord],
        command: Create,
        holder: NameRecord,
        seen: Seen,
    ) -> None:
        """Remember a refused create if a repeat of it must be recognised."""
        record = here.record
        after = replace(holder, offsets=seen.noted(holder.offsets))
        if command.keyed:
            after = turned_away(after, command, at=here.at)
        elif not seen.passed_on:
            return  # its offset and that of the release are in one log, which orders them
        here.put(after)
        if not holder.held:
            self._freed[record.partition].append((record.offset, record.key))


def _require_key(record: ConsumerRecord, command: Create) -> None:
    """Raises: MalformedRecord: `bad_key`, the key is not the name's."""
    if record.key != name_key(command.user_email, command.name).encode():
        raise MalformedRecord("bad_key", "the key must be <user_email>/<name>")


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
    add_agent(app, "names", (kafka.topics.create_requests, kafka.topics.name_requests), agent.run)
