"""Every role and kind of client over a Kafka that allows only what `clusterflow topics --acls` prints."""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import asyncpg
import grpc.aio
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from agents.worker import WorkerSettings
from agents.worker import run as run_worker
from database import DatabaseSettings
from deploy.embedded import Stack
from domain.cluster.names import name_key
from domain.errors import NotPermitted
from executors.role import run as run_executor
from executors.settings import ExecutorSettings
from migrations import migrate
from outbox.role import run as run_relay
from outbox.settings import RelaySettings
from recovery import RecoverySettings, rebuild, verify
from rpc.server import run as run_rpc
from rpc.settings import RpcSettings
from rpc.task.v1.task_pb2 import ProcessTaskRequest
from rpc.task.v1.task_pb2_grpc import TaskServiceStub
from sinks import SinkSettings
from sinks import run as run_sink
from sinks.recorder import RecorderSettings
from sinks.recorder import run as run_recorder
from streams.kafka.admin import declare_topics
from streams.kafka.roles import CLIENTS, NODE
from streams.settings import RECORDER_GROUP, SINK_GROUP
from streams.writing.outputs import Output
from streams.writing.producer import Producer
from tests.conftest import until
from tests.e2e.permitted import PermittingKafka, allow, printed
from tests.e2e.product import SPEC, Deployment, available, command, report
from tests.recovery.site import POLICY
from web.server import run as run_web
from web.settings import WebSettings

ROOT = Path(__file__).parents[2]
OWNER = "owner@example.com"

# What the product alone writes.
OURS = (
    "accepted_commands",
    "name_requests",
    "state",
    "names",
    "events",
    "results",
    "ticks",
)


@pytest.fixture(scope="module")
async def kafka(tmp_path_factory):
    stack = Stack(tmp_path_factory.mktemp("permitting"))
    stack.kafka.__class__ = PermittingKafka
    await asyncio.to_thread(stack.start, ["kafka"])
    yield stack.kafka
    await asyncio.to_thread(stack.stop)


@pytest.fixture(scope="module")
async def granted(kafka):
    """Topics with exactly the printed rights."""
    await allow(kafka.plainly("all."), controllers=["dns"])
    await declare_topics(kafka.settings_of("topics", "all."))
    return "all."


async def publish(kafka, who, topic, key, value, **headers):
    sent = [(name, text.encode()) for name, text in headers.items()]
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    async with AIOKafkaProducer(**kafka.client(who), request_timeout_ms=5000) as producer:
        await producer.send_and_wait(topic, data, key=key.encode(), headers=sent)


async def first_read(kafka, who, topic, group, fits=lambda record: True):
    """The first record that a group of one reads and that fits."""
    async with AIOKafkaConsumer(
        topic, **kafka.client(who), group_id=group, auto_offset_reset="earliest", enable_auto_commit=False
    ) as consumer:
        async with asyncio.timeout(30):
            async for record in consumer:
                if fits(record):
                    await consumer.commit()
                    return record
    raise AssertionError("a consumer ended by itself")


async def first_recorded(url, event_type, resource_id):
    """The first row of such an event."""
    connection = await asyncpg.connect(url)

    async def row():
        wanted = "SELECT * FROM processed_events WHERE event_type = $1 AND resource_id = $2"
        return await connection.fetchrow(wanted, event_type, resource_id)

    try:
        return await until(row, what="a recorded event")
    finally:
        await connection.close()


async def insert(url, resource_id):
    """A row that creates a resource, by a program of somebody else."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "INSERT INTO outbox_events (aggregate_id, event_type, payload)"
            " VALUES ($1, 'resource.created', $2)",
            resource_id,
            json.dumps({"id": resource_id, "name": "by-row"}),
        )
    finally:
        await connection.close()


@asynccontextmanager
async def the_product(kafka, prefix, url):
    """All roles, each as its own principal; as a client of REST, and with the topics to look at."""
    await migrate(url)
    async with Deployment(kafka.plainly(prefix), policy=POLICY) as deployment:
        deployment.kafka = kafka.settings_of("worker", prefix)
        worker = await deployment.worker()
        deployment.kafka = kafka.settings_of("executor", prefix)
        executor = await deployment.executor()
        deployment.kafka = kafka.settings_of("relay", prefix)
        await deployment.relay(url)
        deployment.kafka = kafka.settings_of("grpc", prefix)
        address, _ = await deployment.grpc()
        deployment.kafka = kafka.settings_of("web", prefix)
        api = await deployment.web(OWNER)
        sink_settings = SinkSettings(
            kafka=kafka.settings_of("sink", prefix),
            database=DatabaseSettings(url=url),
            group_id=prefix + SINK_GROUP,
        )
        recorder_settings = RecorderSettings(
            kafka=kafka.settings_of("recorder", prefix),
            database=DatabaseSettings(url=url),
            group_id=prefix + RECORDER_GROUP,
        )
        stop = asyncio.Event()
        sink = asyncio.create_task(run_sink(sink_settings, stop=stop))
        recorder = asyncio.create_task(run_recorder(recorder_settings, stop=stop))
        yield SimpleNamespace(
            api=api, grpc=address, worker=worker, executor=executor, sink=sink, recorder=recorder
        )
        stop.set()
        await asyncio.wait_for(asyncio.gather(sink, recorder), 20)


async def test_with_exactly_the_printed_rights_everything_works(kafka, granted, servers):
    url = await servers.new_database()

    def as_(who):
        return kafka.settings_of(who, granted)

    topics = as_("web").topics
    async with the_product(kafka, granted, url) as running:
        # over REST
        cluster = await running.api.created("by-rest")
        assert 200 == (await running.api.update(cluster["id"], {**SPEC, "size": 2})).status
        assert (
            200
            == (await running.api.report(cluster["id"], observed_generation=2, conditions=available())).status
        )
        # over Kafka, each kind of client by itself
        id = str(uuid4())
        create = command("create", id, OWNER, name="by-kafka", spec=SPEC)
        await publish(as_("creator"), "creator", topics.create_requests, name_key(OWNER, "by-kafka"), create)
        event = await first_read(
            as_("controller"), "controller", topics.events, f"{granted}dns", lambda r: r.key == id.encode()
        )
        assert "cluster.created" == json.loads(event.value)["type"]
        await publish(as_("controller"), "controller", topics.reports, id, report(id, conditions=available()))
        update = command("update", id, OWNER, spec={**SPEC, "size": 3})
        await publish(as_("commander"), "commander", topics.commands, id, update)
        result = await first_read(
            as_("results-reader"),
            "reader",
            topics.results,
            f"{granted}results-reader-1",
            lambda r: json.loads(r.value)["command_id"] == update["command_id"],
        )
        assert "applied" == json.loads(result.value)["outcome"]
        await publish(as_("commander"), "commander", topics.commands, id, b"junk")
        dead = await first_read(
            as_("dead-letter-reader"), "reader", f"{topics.commands}.dlq", f"{granted}dead-letter-reader"
        )
        assert b"junk" == dead.value
        assert await first_read(as_("events-reader"), "reader", topics.events, f"{granted}events-reader")
        assert 202 == (await running.api.delete(cluster["id"], force=True)).status
        # over gRPC
        async with grpc.aio.insecure_channel(running.grpc) as channel:
            asked = ProcessTaskRequest(resource_id=id, action="resize")
            assert (await TaskServiceStub(channel).ProcessTask(asked, timeout=20)).task_id
        # a task over Kafka, which the executor does
        task_id, resource_id = str(uuid4()), str(uuid4())
        create = {
            "type": "task.create", "id": task_id, "command_id": task_id, "resource_id": resource_id,
            "action": "resize",
        }  # fmt: skip
        await publish(as_("commander"), "commander", f"{granted}task.commands", task_id, create)
        assert await first_read(
            as_("events-reader"), "reader", f"{granted}task.completed", f"{granted}events-reader"
        )
        # a row of an outbox
        await insert(url, resource_id)
        assert await first_read(
            as_("events-reader"),
            "reader",
            f"{granted}resource.created",
            f"{granted}events-reader",
            lambda r: r.key == resource_id.encode(),
        )
        # and to PostgreSQL
        settings = RecoverySettings(kafka=as_("verify"), database=DatabaseSettings(url=url))
        found = await verify(settings)
        assert found.equal, found
        assert 2 == found.compared["clusters"]
        assert not running.worker.task.done()
        assert not running.executor.task.done()
        assert not running.sink.done()
        assert await first_recorded(url, "task.completed", resource_id)
        assert not running.recorder.done()
    await allow(kafka.plainly("new."))
    await declare_topics(kafka.settings_of("topics", "new."))
    restored = await rebuild(
        RecoverySettings(kafka=kafka.settings_of("rebuild", "new."), database=settings.database)
    )
    assert (2, 1) == (restored.clusters, restored.live)


@pytest.mark.parametrize("who", [*CLIENTS, "nobody"])
async def test_no_client_writes_what_the_product_believes(kafka, granted, who):
    settings = kafka.settings_of(who, granted)
    telling = (
        {"events"} if who == NODE else set()
    )  # among our events, where they are believed in nothing else
    for name in {*OURS} - telling:
        with pytest.raises(TopicAuthorizationFailedError):
            await publish(settings, who, getattr(settings.topics, name), "key", b"{}")


async def test_no_client_reads_the_state_or_joins_our_groups(kafka, granted):
    for who in CLIENTS:
        settings = kafka.settings_of(who, granted)
        with pytest.raises(KafkaError):
            async with asyncio.timeout(20):
                await first_read(settings, who, settings.topics.state, f"{granted}{who}")
    allowed = [each for each in printed(settings.topics, ["dns"]) if each.resource == "group"]
    assert {"worker", "rebuild"} == {each.of for each in allowed if each.name == f"{granted}clusterflow"}


ROLES = {
    "worker": lambda kafka, url: run_worker(
        WorkerSettings(kafka=kafka), stop=asyncio.Event(), ready=lambda ask: None
    ),
    "web": lambda kafka, url: run_web(WebSettings(kafka=kafka), stop=asyncio.Event(), ready=lambda ask: None),
    "grpc": lambda kafka, url: run_rpc(
        RpcSettings(kafka=kafka), stop=asyncio.Event(), ready=lambda ask: None
    ),
    "executor": lambda kafka, url: run_executor(
        ExecutorSettings(kafka=kafka), stop=asyncio.Event(), ready=lambda ask: None
    ),
    "relay": lambda kafka, url: run_relay(
        RelaySettings(kafka=kafka, databases=[DatabaseSettings(url=url)], allowed=[]),
        stop=asyncio.Event(),
        ready=lambda ask: None,
    ),
    "sink": lambda kafka, url: run_sink(
        SinkSettings(kafka=kafka, database=DatabaseSettings(url=url)), stop=asyncio.Event()
    ),
    "recorder": lambda kafka, url: run_recorder(
        RecorderSettings(kafka=kafka, database=DatabaseSettings(url=url)), stop=asyncio.Event()
    ),
    "verify": lambda kafka, url: verify(RecoverySettings(kafka=kafka, database=DatabaseSettings(url=url))),
    "rebuild": lambda kafka, url: rebuild(RecoverySettings(kafka=kafka, database=DatabaseSettings(url=url))),
    "topics": lambda kafka, url: declare_topics(kafka),
}


@pytest.mark.parametrize(
    ("who", "operation", "resource"),
    [
        ("worker", "Write", "cluster-state"),
        ("worker", "Write", "cluster-events"),
        ("worker", "Read", "cluster-status-reports"),
        ("worker", "Read", "clusterflow"),
        ("web", "Read", "cluster-state"),
        ("web", "Write", "cluster-name-requests"),
        ("sink", "Read", "cluster-events"),
        ("sink", "Write", "cluster-state.dlq"),
        ("sink", "Read", "clusterflow-postgres"),
        ("grpc", "Read", "task-state"),
        ("grpc", "Write", "task.commands"),
        ("grpc", "Read", "command-results"),
        ("executor", "Read", "task.process"),
        ("executor", "Write", "task.commands"),
        ("executor", "Read", "command-results"),
        ("executor", "Read", "clusterflow-executor"),
        ("recorder", "Read", "resource.created"),
        ("recorder", "Write", "task.process.dlq"),
        ("recorder", "Read", "clusterflow-recorder"),
        ("relay", "Write", "resource.commands"),
        ("relay", "Write", "task.commands"),
        ("verify", "Read", "cluster-names"),
        ("rebuild", "Write", "cluster-state"),
        ("topics", "Create", "cluster-state"),
    ],
)
async def test_a_role_that_lacks_a_right_ends_and_names_it(kafka, servers, who, operation, resource):
    prefix = f"{who}-{operation}-{resource}."
    name = prefix + resource
    await allow(
        kafka.plainly(prefix),
        but=lambda allowed: (allowed.of, allowed.operation, allowed.name) == (who, operation, name),
    )
    if who != "topics":
        await declare_topics(kafka.settings_of("topics", prefix))

    with pytest.raises((NotPermitted, ExceptionGroup)) as told:
        async with asyncio.timeout(30):
            await ROLES[who](kafka.settings_of(who, prefix), servers.database_url)

    assert f"{operation} on " in str(told.value)
    assert f" {name}" in str(told.value)
    assert "`clusterflow topics --acls`" in str(told.value)


async def test_a_process_that_lacks_a_right_says_so_in_its_log_and_ends(kafka, servers):
    prefix = "process."
    await allow(
        kafka.plainly(prefix),
        but=lambda allowed: (allowed.of, allowed.name) == ("worker", f"{prefix}cluster-state"),
    )
    await declare_topics(kafka.settings_of("topics", prefix))
    settings = kafka.settings_of("worker", prefix)
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "main",
        "worker",
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "KAFKA_SASL_USERNAME": settings.security.username,
            "KAFKA_SASL_PASSWORD": settings.security.password,
            "KAFKA_TOPIC_PREFIX": prefix,
            "KAFKA_PARTITIONS": "2",
            "KAFKA_REPLICATION": "1",
            "METRICS_ENABLED": "false",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(worker.communicate(), 60)
    assert 1 == worker.returncode, said
    assert b"cluster-state" in said
    assert b"clusterflow topics --acls" in said


async def test_a_right_that_is_taken_away_later_is_named_by_whatever_needs_it(kafka, granted):
    settings = kafka.settings_of("commander", granted)
    producer = Producer(settings, client_id="test")
    try:
        with pytest.raises(NotPermitted, match=f"right on topic {settings.topics.state} is missing.*--acls"):
            await producer.publish([Output(settings.topics.state, b"key", b"value")])
    finally:
        await producer.stop()
