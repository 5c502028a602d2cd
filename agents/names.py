"""The name desk of the cluster agent: the first create of a name passes, others are rejected.

`cluster-create-requests` → `cluster-name-requests` → name table → the cluster in the same turn, or
`cluster-accepted-commands` where it lies in another partition, or `cluster-command-results` (rejected).

Clients may write only the first of these topics. A client's create is forwarded to the topic in which creates
and releases have one order. If a crash forwards it twice, the header `ORIGIN` identifies the second one.

Theory of operation. A turn publishes outputs, then stores clusters, then names. A process may die between any
two, and what is not committed is decided again:

- Before the cluster is stored, name and cluster are as they were, and all requests for the name come again in
  their one order, so everything is decided as it was.
- Once the cluster is stored and its name is not, the cluster reflects the create, so that only its name is
  left to be stored. Nothing else can have the name meanwhile, because requests behind the create come again
  behind it.
- Once both are stored the name reflects the create, and nothing is left to do.

A delete frees the name by a record of `cluster-name-requests`, also where both lie in one partition. Without
it, a create that was refused before the delete could be decided again after it.
"""

import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec
from aiokafka import ConsumerRecord

from agents.guard import pass_on, require_passable
from agents.placement import Placement
from agents.results import decided, result_output
from domain.cluster.commands import Create
from domain.cluster.names import (
    NameRecord,
    admit,
    freed,
    held_by,
    live_under,
    name_key,
    releases,
    turned_away,
)
from domain.cluster.state import ClusterState
from domain.errors import MalformedRecord, Rejected
from domain.offsets import Seen, offset_in
from domain.policy import Policy
from domain.values import replace
from streams.cluster.codec import is_held, read_create_request, read_name_request
from streams.cluster.messages import ReleaseMessage, ResultMessage
from streams.headers import BY_REST, ORIGIN, headers_of
from streams.kafka.partitions import partition_of
from streams.settings import KafkaSettings
from streams.turns.backlog import MAX_BACKLOG
from streams.turns.turn import Here
from streams.writing.outputs import Output
from tables.typed import TypedTable

log = logging.getLogger("clusterflow.name_service")

# How many records of a partition a crash may deliver again: twice what agents may hold unacknowledged.
MAX_REDELIVERED: Final = 2 * MAX_BACKLOG


CreateHere = Callable[[Here[ClusterState], Create, Seen], ClusterState | None]


class NameDesk:
    """Decides creates and releases over the name table, in the turns of the cluster agent.

    A create comes in with its name as key. If its cluster lies in the same partition, as web sees to, both
    are decided in this turn; otherwise it goes on to where its cluster is decided.

    Args:
        create: Decides a create whose name is free, and returns the cluster after it.

    Attributes:
        inputs: The handler of each input topic.
    """

    def __init__(
        self, *, kafka: KafkaSettings, names: TypedTable[NameRecord], policy: Policy, create: CreateHere
    ) -> None:
        self._topics = kafka.topics
        self._partitions = kafka.partitions
        self._names = names
        self._policy = policy
        self._create = create
        self._placement = Placement(kafka.partitions, names)
        self._freed: defaultdict[int, deque[tuple[int, bytes]]] = defaultdict(deque)
        self.inputs = {
            self._topics.create_requests: self._pass_on,
            self._topics.name_requests: self._decide,
        }
        names.on_recovered(self._collect_freed)

    def forget(self, here: Here[ClusterState]) -> None:
        """Drop freed names that no redelivered record and no repeat of a keyed create can ask for."""
        record = here.record
        if record.topic != self._topics.name_requests:
            return
        old = self._freed[record.partition]
        while old and old[0][0] < record.offset - MAX_REDELIVERED:
            _, key = old.popleft()
            name: NameRecord | None = here.get_later(key)
            if name is None or name.held:
                continue
            kept = name.without_old(here.at)
            if kept.refused:
                old.append((record.offset, key))
                if kept.refused != name.refused:
                    here.put_later(kept, key)
            else:
                here.put_later(None, key)

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

    def _pass_on(self, here: Here[ClusterState]) -> None:
        """Forward a client's create to the topic in which creates and releases have one order."""
        record = here.record
        if (misplaced := self._placement.correction(record)) is not None:
            here.publish(misplaced)
            return
        _require_key(record, read_create_request(record.value, headers_of(record)))
        pass_on(here, self._topics.name_requests)

    def _decide(self, here: Here[ClusterState]) -> None:
        record = here.record
        headers = headers_of(record)
        message = read_name_request(record.value, headers)
        holder: NameRecord | None = here.get_later()
        seen = Seen.of(here.log, record.offset, headers.get(ORIGIN))
        if holder is not None and seen.held_by(holder.offsets):
            return
        match message:
            case ReleaseMessage(cluster_id=cluster_id):
                self._release(here, holder, cluster_id.lower())
            case Create():
                _require_key(record, message)
                self._take(here, message, holder, seen)

    def _release(self, here: Here[ClusterState], holder: NameRecord | None, cluster_id: str) -> None:
        if holder is None or not releases(holder, cluster_id):
            return
        if self._is_here(here, cluster_id) and live_under(here.get(cluster_id.encode()), here.key.decode()):
            # Only a delete frees a name. It publishes the release before its state is stored, and once more
            # if a crash makes a worker decide it again.
            log.warning("a release of a live cluster's name is passed over", extra={"cluster_id": cluster_id})
            return
        here.put_later(freed(holder, here.log, here.record.offset))
        self._freed[here.partition].append((here.record.offset, here.key))

    def _is_here(self, here: Here[ClusterState], cluster_id: str) -> bool:
        """Whether a cluster lies in the partition of the name."""
        return partition_of(cluster_id.encode(), self._partitions) == here.partition

    def _take(self, here: Here[ClusterState], command: Create, holder: NameRecord | None, seen: Seen) -> None:
        # A client's own id may be known to others, whose commands a replay could meet before its create.
        with_cluster = command.triggered_by == BY_REST and self._is_here(here, command.cluster_id)
        cluster = here.at_key(command.cluster_id.encode())
        if with_cluster and (state := cluster.get()) is not None and seen.held_by(state.offsets):
            # The cluster was stored and its name was not, before a crash.
            if live_under(state, here.key.decode()):
                here.put_later(held_by(command, holder, seen))
            return
        try:
            admit(holder, command, self._policy)
        except Rejected as refusal:
            self._refuse(here, command, refusal)
            if holder is not None and refusal.code == "CLUSTER_NAME_EXISTS":
                self._remember(here, command, holder, seen)
            return
        if not with_cluster:
            self._pass_to_cluster(here, command)
        elif not live_under(self._create(cluster, command, seen), here.key.decode()):
            return
        here.put_later(held_by(command, holder, seen))

    def _pass_to_cluster(self, here: Here[ClusterState], command: Create) -> None:
        """Pass a create on to the partition of its cluster, whose agent need not know the record's origin."""
        record, key = here.record, command.cluster_id.encode()
        headers = {name: text for name, text in headers_of(record).items() if name != ORIGIN}
        require_passable(key, record.value, [(name, text.encode()) for name, text in headers.items()])
        here.publish(Output(self._topics.accepted_commands, key, record.value, headers))

    def _refuse(self, here: Here[ClusterState], command: Create, refusal: Rejected) -> None:
        result = ResultMessage(
            command_id=command.command_id,
            outcome="rejected",
            code=refusal.code,
            error=refusal.text,
            details=dict(refusal.details),
        )
        by_rest = command.triggered_by == BY_REST
        key = command.cluster_id.encode()
        here.publish(result_output(self._topics.results, key, result, by_rest=by_rest))
        decided("cluster", "create", "rejected").inc()

    def _remember(
        self,
        here: Here[ClusterState],
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
        here.put_later(after)
        if not holder.held:
            self._freed[record.partition].append((record.offset, record.key))


def _require_key(record: ConsumerRecord, command: Create) -> None:
    """Raises: MalformedRecord: `bad_key`, the key is not the name's."""
    if record.key != name_key(command.user_email, command.name).encode():
        raise MalformedRecord("bad_key", "the key must be <user_email>/<name>")
