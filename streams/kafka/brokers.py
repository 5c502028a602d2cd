"""One aiokafka client and several brokers: a silent broker must not delay work that the others can do.

By itself, aiokafka waits for a silent broker as long as a request may take, makes one connection at a time,
asks one broker after the other for metadata, and learns that a partition has moved only from its old leader.
Kafka moves partitions within seconds, and its other brokers know it at once. So each client behaves as
follows:

- A request that waits makes us ask the other brokers. Once they no longer list its broker, the broker's
  connections are closed, and aiokafka sends the pending requests again, to the new leaders.
- Connections are made in parallel.
- Metadata is taken from the broker that answers first.

Written against aiokafka 0.14, to which pyproject.toml holds it (docs/decisions/0006). All time-outs are in
`streams.kafka.timeouts`.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext
from time import monotonic
from typing import Any, Final, Self, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import CloseReason, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError, StaleMetadata

from streams.kafka.metadata import Epochs, MetadataRequest, as_version_5
from streams.kafka.timeouts import ASK_NEXT_AFTER, LEADERLESS_PAUSE, LOOK_EVERY, METADATA_WITHIN, SILENT_AFTER

log = logging.getLogger("clusterflow.brokers")

T = TypeVar("T")
N = TypeVar("N")

FAILURES: Final = (KafkaError, OSError, TimeoutError)
"""The errors with which a request to a broker fails."""

Link = tuple[Any, Any]
"""A broker's id, and the purpose of the connection: a group's requests have one of their own."""

QUESTIONS: Final = "questions"
"""The purpose of connections for metadata requests. A broker answers the requests of one connection in order,
and a batch is answered only when all replicas that must have it do, which may include a silent one.
"""


class Brokers:
    """The brokers as one client sees them. It replaces parts of the client before that is started.

    Attributes:
        silent: The ids of the brokers that have owed an answer for more than a second.
    """

    def __init__(self, client: AIOKafkaClient) -> None:
        self.silent: frozenset[int] = frozenset()
        self._client = client
        self._connect = client._get_conn
        self._close = client.close
        self._connecting: dict[Link, asyncio.Task[Any]] = {}
        # By connection, its oldest pending request (or the attempt to connect), and since when it is pending.
        self._waits: dict[Link, tuple[object, float]] = {}
        self._overdue: Sequence[Link] = ()
        self._looked_at = monotonic()
        self._awake = 0.0
        self._epochs = Epochs()
        self._pause = 0.0
        self._timer: asyncio.TimerHandle | None = None
        client._get_conn_lock_value = nullcontext()
        client._get_conn = self._connection
        client._metadata_update = self._update
        client.bootstrap = self._bootstrap
        client.get_random_node = self._any
        client.close = self._stop

    @classmethod
    def of(cls, user: AIOKafkaConsumer | AIOKafkaAdminClient) -> Self:
        """The brokers as the client of a consumer or of an admin client sees them."""
        return cls(user._client)

    async def ask(self, request: Any, check: Callable[[Any], None] = lambda answer: None) -> Any:
        """The first broker's answer to a request that any broker can answer; silent ones are asked last.

        Args:
            check: Raises a KafkaError for an answer that cannot be used.

        Raises: KafkaError, OSError, TimeoutError: no broker answers.
        """
        nodes = sorted(_shuffled(self._nodes), key=self.silent.__contains__)

        async def ask(node: int) -> Any:
            connection = self._client._conns.get((node, ConnectionGroup.DEFAULT))
            if connection is None or connection._requests:
                connection = await self._connection(node, group=QUESTIONS)
            if connection is None:
                raise KafkaConnectionError(f"no connection to broker {node}")
            answer = await connection.send(request)
            check(answer)
            return answer

        return await first_answer(nodes, ask)

    def _require_new(self, metadata: Any) -> None:
        if self._epochs.outdated(metadata):
            raise StaleMetadata("a broker tells what was so before: it may be cut off from the others")

    def unreachable(self, partitions: Iterable[TopicPartition]) -> frozenset[tuple[str, int]]:
        """The partitions whose leader does not answer, as far as is known; callable in any thread."""
        leader, gone = self._client.cluster.leader_for_partition, self.silent | {None, -1}
        return frozenset((tp.topic, tp.partition) for tp in partitions if leader(tp) in gone)

    @property
    def _nodes(self) -> list[int]:
        """The brokers that Kafka lists, as of our latest metadata."""
        return [broker.nodeId for broker in self._client.cluster.brokers()]

    # --- replacements of the client's methods -----------------------------------------------------------

    async def _bootstrap(self) -> None:
        """Fetch the first metadata from a configured address. Raises: KafkaConnectionError: none answers."""
        client = self._client
        try:
            metadata = await self._introduced(MetadataRequest([]))
        except FAILURES as error:
            raise KafkaConnectionError(f"Unable to bootstrap from {client.hosts}: {error!r}") from error
        client.cluster.update_metadata(as_version_5(metadata))
        if client._sync_task is None:
            client._sync_task = asyncio.create_task(client._md_synchronizer())
        if self._timer is None:
            self._look()

    async def _introduced(self, request: MetadataRequest) -> Any:
        """The first answer of a configured address. Raises: KafkaError, OSError, TimeoutError."""
        hosts = self._client.hosts
        return await first_answer(hosts, lambda at: self._introduction(at[0], at[1], request))

    async def _introduction(self, host: str, port: int, request: MetadataRequest) -> Any:
        client = self._client
        connection = await create_conn(
            host,
            port,
            client_id=client._client_id,
            request_timeout_ms=client._request_timeout_ms,
            ssl_context=client._ssl_context,
            security_protocol=client._security_protocol,
            sasl_mechanism=client._sasl_mechanism,
            sasl_plain_username=client._sasl_plain_username,
            sasl_plain_password=client._sasl_plain_password,
        )
        try:
            metadata = await connection.send(request)
        finally:
            connection.close()
        if not metadata.brokers:
            raise KafkaConnectionError(f"{host}:{port} knows of no broker that is up")
        return metadata

    async def _connection(
        self, node_id: Any, *, group: Any = ConnectionGroup.DEFAULT, no_hint: bool = False
    ) -> Any:
        """The connection to a broker; None if it cannot be made. All callers wait for one attempt."""
        link = (node_id, group)
        connection = self._client._conns.get(link)
        if connection is not None and connection.connected():
            return connection
        attempt = self._connecting.get(link)
        if attempt is None:
            attempt = self._connecting[link] = asyncio.create_task(self._connect(node_id, group=group))
            attempt.add_done_callback(lambda _: self._connecting.pop(link))
        await asyncio.wait([attempt])  # this does not cancel the attempt that others wait for
        return None if attempt.cancelled() else attempt.result()

    async def _update(self, cluster: ClusterMetadata, topics: Collection[str] | None) -> bool:
        """Ask about these topics; return whether a broker has answered.

        Args:
            topics: None for all topics. aiokafka also asks about all while a client uses none, and there may
                be many of other applications.
        """
        await asyncio.sleep(self._pause)
        self._pause = LEADERLESS_PAUSE
        try:
            async with asyncio.timeout(METADATA_WITHIN):
                metadata = await self._metadata(MetadataRequest(topics))
        except FAILURES as error:
            log.warning("no broker has answered with metadata", extra={"error": repr(error)})
            cluster.failed_update(None)
            return False
        if not metadata.brokers:
            return False
        self._epochs.note(metadata)
        cluster.update_metadata(as_version_5(metadata))
        self._leave_dead()
        if all(leader >= 0 for leader in _leaders(metadata)):
            self._pause = 0.0
        return True

    async def _metadata(self, request: MetadataRequest) -> Any:
        """The answer of a known broker or, if none answers, of one at a configured address.

        All known brokers may be gone by now, while others that were away are back.
        """
        try:
            return await self.ask(request, self._require_new)
        except FAILURES:
            return await self._introduced(request)

    def _any(self) -> int | None:
        """A broker for requests that any can answer: one that is not silent, if possible."""
        nodes = self._nodes
        answering = [node for node in nodes if node not in self.silent]
        return next(iter(_shuffled(answering or nodes)), None)

    async def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        attempts = [*self._connecting.values()]
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
        await self._close()

    # --- noticing silent brokers ------------------------------------------------------------------------

    def _look(self) -> None:
        """Find brokers that owe an answer, and ask the others about them."""
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)
        # A pause of this process does not count, because answers that came meanwhile are not read yet.
        before, self._looked_at = self._looked_at, monotonic()
        self._awake += min(self._looked_at - before, 2 * LOOK_EVERY)
        now, waits = self._awake, dict[Link, tuple[object, float]]()
        for link, awaited in self._awaited():
            known, since = self._waits.get(link, (None, now))
            waits[link] = (awaited, since if known is awaited else now)
        self._waits = waits
        self._overdue = [link for link, (_, since) in waits.items() if now - since > SILENT_AFTER]
        silent = frozenset(node for node, _ in self._overdue)
        if silent - self.silent:
            log.info("brokers owe an answer", extra={"brokers": sorted(silent)})
        self.silent = silent
        if silent:
            self._client.force_metadata_update()

    def _awaited(self) -> Iterator[tuple[Link, object]]:
        for link, connection in self._client._conns.items():
            if connection._requests:
                yield link, connection._requests[0][2]
        yield from self._connecting.items()

    def _leave_dead(self) -> None:
        """Close the connections to silent brokers that Kafka no longer lists."""
        live = self._nodes
        dead = [link for link in self._overdue if link[0] not in live]
        self._overdue = [link for link in self._overdue if link[0] in live]
        for link in dead:
            self._leave(link)

    def _leave(self, link: Link) -> None:
        log.warning("Kafka goes on without a broker, and so do we", extra={"broker": link[0]})
        if (attempt := self._connecting.get(link)) is not None:
            attempt.cancel()
        elif (connection := self._client._conns.get(link)) is not None:
            connection.close(reason=CloseReason.CONNECTION_TIMEOUT)


def _shuffled(nodes: Sequence[int]) -> list[int]:
    return random.sample(nodes, len(nodes))


def _leaders(metadata: Any) -> Iterator[int]:
    for _, _, _, _, partitions, *_ in metadata.topics:
        for _, _, leader, *_ in partitions:
            yield leader


async def first_answer(asked: Sequence[N], ask: Callable[[N], Awaitable[T]]) -> T:
    """Ask one after the other, the next when one fails or is slow; return the first answer.

    Raises: KafkaError, OSError, TimeoutError: the last failure, if all have failed.
    """
    left, waiting = [*asked], set[asyncio.Future[T]]()
    failure: BaseException = KafkaConnectionError("no broker is known")
    try:
        while left or waiting:
            if left:
                waiting.add(asyncio.ensure_future(ask(left.pop(0))))
            patience = ASK_NEXT_AFTER if left else None
            done, _ = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                waiting.discard(task)
                error = task.exception()
                if error is None:
                    return task.result()
                if not isinstance(error, FAILURES):
                    raise error
                failure = error
        raise failure
    finally:
        for task in waiting:
            task.cancel()
