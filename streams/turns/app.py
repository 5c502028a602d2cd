"""`create_app`: the only faust.App() call; `add_agent`: how an agent joins it.

Only this module and `transport` know Faust's inside.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence, Set
from typing import Any, ClassVar, Final

import faust
from aiokafka.errors import KafkaError
from faust.app import BootStrategy
from faust.tables.manager import TableManager
from faust.types import TP
from faust.types.auth import CredentialsT

from domain.errors import NotPermitted, TransientError
from streams.claims import claim_output
from streams.kafka.timeouts import METADATA_AGE_MS, group_request_within, rebalance_within
from streams.settings import GROUP, MAX_FETCH_BYTES, KafkaSecurity, KafkaSettings
from streams.turns.batch import BatchSchema
from streams.turns.lanes import HeldLanes, ending_worker
from streams.turns.transport import BatchTransport
from streams.writing.lease import Lease
from streams.writing.producer import Producer

log = logging.getLogger("clusterflow.worker")

# Longer than a broker's restart, shorter than a person's patience.
STALL_SECONDS: Final = 30.0


class BatchTableManager(TableManager):
    """Faust's table manager, which claims the partitions it is given before it recovers them.

    It does not wait a second as Faust does, because tables are declared before the app starts.
    """

    async def on_start(self) -> None:
        """Register the tables and start recovery."""
        await self._update_channels()
        await self.recovery.start()

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Claim the changelog partitions that are ours now, then recover them at least up to the claim."""
        await self._claim([tp for tp in self.app.assignor.assigned_actives() if tp.topic in self._changelogs])
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)
        if generation_id == self.app.consumer_generation_id:  # else the next rebalance is under way already
            self.app.consumer.recovery_begins()

    async def _claim(self, owned: Sequence[TP]) -> None:
        """Write claims until the offset of each is the one it contains.

        Raises: NotPermitted: we may not write the changelog, and waiting would only last until the session
            ends.
        """
        expected = await self._ends(owned)
        claims: dict[TP, int] = {}
        while (unclaimed := [tp for tp in owned if tp not in claims]) and not self.should_stop:
            worker = self.app.worker_id
            outputs = [claim_output(tp.topic, tp.partition, worker, offset=expected[tp]) for tp in unclaimed]
            try:
                positions = await self.app.publisher.publish(outputs)
            except NotPermitted:
                raise
            except TransientError as error:
                log.warning("claiming again", extra={"error": str(error)})
                await asyncio.sleep(error.retry_after)
                continue
            for tp, position in zip(unclaimed, positions, strict=True):
                if position.offset == expected[tp]:
                    claims[tp] = position.offset
                else:  # somebody else has written in between
                    expected[tp] = position.offset + 1
        if not unclaimed:
            self.app.claims = claims

    async def _ends(self, partitions: Sequence[TP]) -> dict[TP, int]:
        """The ends of the partitions; a wrong answer costs one more claim."""
        try:
            ends = await self.app.consumer.highwaters(*partitions) if partitions else {}
        except KafkaError as error:
            log.info("ends of changelogs not known", extra={"error": repr(error)})
            ends = {}
        return {tp: ends.get(tp) or 0 for tp in partitions}


class BatchBootStrategy(BootStrategy):
    """Starts all of Faust but its producer, since only ours writes (`streams.writing.producer`)."""

    enable_kafka_producer = False


class BatchApp(faust.App):
    """A Faust app whose agents receive batches.

    Attributes:
        kafka: The Kafka it uses.
        lease: The time until which this worker may write.
        publisher: The producer it writes with.
        worker_id: Its name in claims.
        claims: Per changelog partition that it owns, the offset of its claim.
        topic_ids: By name, the ids of its topics as they were when it started.
        logs: Per input partition that it reads, the name of its log (`domain.offsets`).
        committed: Per input partition, the offset from which records are delivered again after a crash.
        lanes: By agent, the partitions that are held.
    """

    kafka: KafkaSettings
    lease: Lease
    publisher: Producer
    worker_id: str
    claims: Mapping[TP, int]
    topic_ids: Mapping[str, str]
    logs: Mapping[tuple[str, int], str]
    committed: dict[tuple[str, int], int]
    lanes: dict[str, HeldLanes]

    BootStrategy: ClassVar[Any] = BatchBootStrategy

    def _new_transport(self) -> Any:
        return BatchTransport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Off, because tables are in memory and a worker leaves nothing in its working directory."""

    async def until_crashed(self) -> None:
        """Wait until a part of it has died; `crash_reason` is then set."""
        await self._crashed.wait()

    def unreachable(self) -> Set[tuple[str, int]]:
        """The partitions that it reads and whose leader does not answer, by topic and number."""
        brokers = self.consumer._thread.brokers
        return frozenset() if brokers is None else brokers.unreachable(self.consumer.assignment())

    def kafka_consumers(self) -> Sequence[Any]:
        """The aiokafka consumers that are running now."""
        inner = self.consumer._thread._consumer
        return () if inner is None else (inner,)

    @property
    def recovering(self) -> bool:
        """Whether a rebalance is running, or tables are being read from their changelogs."""
        return bool(self.rebalancing) or not self.tables.recovery.completed.is_set()

    @property
    def at_work(self) -> bool:
        """Whether tables are recovered and agents make progress; a few held partitions do not matter."""
        if self.recovering or self.consumer.stalled(after=STALL_SECONDS):
            return False
        held = [lanes for lanes in self.lanes.values() if lanes.partitions]
        return not any(lanes.stalled(self.consumer.assignment(), after=STALL_SECONDS) for lanes in held)

    def held_partitions(self) -> Mapping[str, Collection[int]]:
        """By agent, the partitions whose last commit waits for a leader; agents without any are omitted."""
        return {agent: lanes.partitions for agent, lanes in self.lanes.items() if lanes.partitions}

    def give_up_held(self) -> None:
        """Abandon everything that is held, because a rebalance is about to redistribute its partitions."""
        for lanes in self.lanes.values():
            lanes.give_up()


def create_app(kafka: KafkaSettings, *, group: str = GROUP, standby_replicas: int = 0) -> BatchApp:
    """The Faust app of a worker, tuned for batches.

    Args:
        group: Of the workers that share the partitions, after the prefix of the topics.

    `clusterflow topics` declares every topic, so Faust may create none, and its web server and leader topic
    are off. A worker that vanishes is noticed after the session time-out. So that time and the heartbeat are
    set here instead of left at Faust's default of a minute.
    """
    app = BatchApp(
        kafka.topics.prefix + group,  # two deployments on one Kafka share nothing
        broker=f"kafka://{kafka.bootstrap_servers.replace(',', ';kafka://')}",
        broker_credentials=_credentials(kafka.security),
        store="memory://",
        TableManager=BatchTableManager,
        topic_partitions=kafka.partitions,
        topic_replication_factor=kafka.replication,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        autodiscover=False,
        table_standby_replicas=standby_replicas,
        broker_session_timeout=kafka.session_timeout,
        broker_heartbeat_interval=kafka.session_timeout / 10,
        broker_rebalance_timeout=rebalance_within(kafka.session_timeout),
        broker_request_timeout=group_request_within(kafka.session_timeout),
        broker_commit_interval=0.5,
        broker_commit_every=None,
        broker_max_poll_records=5000,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=METADATA_AGE_MS,
        stream_recovery_delay=0.0,
        stream_wait_empty=True,
        stream_buffer_maxsize=8192,
        stream_publish_on_commit=False,
        consumer_max_fetch_size=MAX_FETCH_BYTES,
    )
    app.lease = Lease(kafka.session_timeout)
    app.worker_id = f"{socket.gethostname()}/{os.getpid()}"
    app.claims = {}
    app.topic_ids = {}
    app.logs = {}
    app.committed = {}
    app.lanes = {}
    app.kafka = kafka
    app.publisher = Producer(kafka, client_id="clusterflow-worker", lease=app.lease)
    return app


def _credentials(security: KafkaSecurity) -> CredentialsT | None:
    """The security settings in Faust's terms."""
    if security.authenticated:
        return faust.SASLCredentials(
            username=security.username,
            password=security.password,
            ssl_context=security.ssl_context(),
            mechanism=security.mechanism,
        )
    return faust.SSLCredentials(security.ssl_context()) if security.encrypted else None


def add_agent(app: BatchApp, name: str, topics: Sequence[str], run: Callable[[Any], Awaitable[None]]) -> None:
    """Add an agent that takes the records of some topics as batches.

    After an exception Faust would restart the agent, in a process whose memory can no longer be trusted. Here
    the worker ends, and its partitions continue elsewhere from what is stored.
    """

    async def agent(stream: Any) -> None:
        async with ending_worker(app, name):
            await run(stream)

    app.lanes[name] = HeldLanes(app, name, topics)
    app.agent(_batch_topic(app, *topics), name=name)(agent)


def _batch_topic(app: BatchApp, *names: str) -> faust.Topic:
    topic: faust.Topic = app.topic(
        *names,
        schema=BatchSchema(key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"),
    )
    return topic
