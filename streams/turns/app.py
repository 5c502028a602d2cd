"""`create_app`: the only faust.App() call; `add_agent`: how an agent joins it.

With `batches`, all that knows Faust's inside.
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
from streams.kafka.timeouts import METADATA_AGE_MS, group_request_within, rebalance_within
from streams.settings import GROUP, MAX_FETCH_BYTES, KafkaSecurity, KafkaSettings
from streams.turns.batch import BatchSchema
from streams.turns.claims import claim_output
from streams.turns.lanes import HeldLanes, ending_worker
from streams.turns.lease import Lease
from streams.turns.transport import BatchTransport
from streams.writing.producer import Producer

log = logging.getLogger("clusterflow.worker")

# Longer than a broker's restart, shorter than a person's patience.
STALL_SECONDS: Final = 30.0


class BatchTableManager(TableManager):
    """Faust's table manager without its second of waiting (tables are declared before the app starts), which
    claims what it is given before it recovers it.
    """

    async def on_start(self) -> None:
        """Register the tables and start recovery."""
        await self._update_channels()
        await self.recovery.start()

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Claim the changelog partitions that are ours now, then recover them up to the claim at least."""
        await self._claim([tp for tp in self.app.assignor.assigned_actives() if tp.topic in self._changelogs])
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)

    async def _claim(self, owned: Sequence[TP]) -> None:
        """Write claims until each lies where it says that it does.

        Raises: NotPermitted: we may not write the changelog; waiting would only end with the session.
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
                else:  # somebody has written meanwhile
                    expected[tp] = position.offset + 1
        if not unclaimed:
            self.app.claims = claims

    async def _ends(self, partitions: Sequence[TP]) -> dict[TP, int]:
        """Where the partitions end; a wrong answer costs one claim more."""
        try:
            ends = await self.app.consumer.highwaters(*partitions) if partitions else {}
        except KafkaError as error:
            log.info("ends of changelogs not known", extra={"error": repr(error)})
            ends = {}
        return {tp: ends.get(tp) or 0 for tp in partitions}


class BatchBootStrategy(BootStrategy):
    """Starts all of Faust but its producer: everything is written by ours (`streams.writing.producer`)."""

    enable_kafka_producer = False


class BatchApp(faust.App):
    """A Faust app whose agents receive batches.

    Attributes:
        kafka: Where it works.
        lease: Until when this worker may write.
        publisher: What it writes by.
        worker_id: Its name in claims.
        claims: Per changelog partition that it owns, the offset of its claim.
        topic_ids: By name, the ids of its topics as they were when it started.
        logs: Per input partition that it reads, the name of its log (`domain.offsets`).
        committed: Per input partition, the offset from which records are delivered again after a crash.
        lanes: By agent, the partitions that it does not take up now.
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
        """Off: tables are in memory, and a worker leaves nothing in the directory it was started from."""

    async def until_crashed(self) -> None:
        """Wait until a part of it has died; `crash_reason` is then set."""
        await self._crashed.wait()

    def unreachable(self) -> Set[tuple[str, int]]:
        """The partitions that it reads, by topic and number, and that have no leader which answers."""
        brokers = self.consumer._thread.brokers
        return frozenset() if brokers is None else brokers.unreachable(self.consumer.assignment())

    def kafka_consumers(self) -> Sequence[Any]:
        """aiokafka's consumers that are at work now."""
        inner = self.consumer._thread._consumer
        return () if inner is None else (inner,)

    @property
    def recovering(self) -> bool:
        """Whether partitions are handed round, or tables read from their changelogs."""
        return bool(self.rebalancing) or not self.tables.recovery.completed.is_set()

    @property
    def at_work(self) -> bool:
        """Whether tables are recovered and agents get on with what they are given; all but some will do."""
        if self.recovering or self.consumer.stalled(after=STALL_SECONDS):
            return False
        held = [lanes for lanes in self.lanes.values() if lanes.partitions]
        return not any(lanes.stalled(self.consumer.assignment(), after=STALL_SECONDS) for lanes in held)

    def held_partitions(self) -> Mapping[str, Collection[int]]:
        """By agent, the partitions whose last commit waits for a leader; agents without any are left out."""
        return {agent: lanes.partitions for agent, lanes in self.lanes.items() if lanes.partitions}

    def give_up_held(self) -> None:
        """Let nothing that is held go on: its partitions are about to be handed round."""
        for lanes in self.lanes.values():
            lanes.give_up()


def create_app(kafka: KafkaSettings, *, standby_replicas: int = 0) -> BatchApp:
    """The Faust app of a worker, tuned for batches.

    Everything is declared by `clusterflow topics`, so Faust may create nothing; its own web server and
    leader topic are off. Times: a worker that vanishes is noticed after the session timeout, so that and
    the heartbeat are chosen, not left at Faust's minute.
    """
    app = BatchApp(
        kafka.topics.prefix + GROUP,  # two deployments on one Kafka are apart in everything
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
    """What Faust calls the security settings."""
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

    Faust would start an agent anew after an exception, in a process whose memory nobody vouches for; here the
    worker ends, and its partitions begin again elsewhere from what is stored.
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
