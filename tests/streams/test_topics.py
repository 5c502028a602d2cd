"""Topics on real Kafka that are there with other settings: refused by whoever uses them, and set right."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAuthorizationFailedError

import deploy.embedded.kafka.node as embedded
from database import DatabaseSettings
from deploy.embedded import Stack
from recovery.settings import RecoverySettings
from recovery.verify import verify
from sinks import SinkSettings
from sinks import run as run_sink
from streams.flows import SIMPLE_FLOWS
from streams.kafka.admin import TopicMismatch, check_topics, declare_topics
from streams.kafka.roles import WEB
from streams.settings import KafkaSettings
from streams.topics import Topics
from tests.conftest import until
from tests.e2e.product import Deployment
from tests.processes import environment_of
from tests.processes import run as run_command

NO_DATABASE = DatabaseSettings(url="postgresql://nobody@127.0.0.1:1/nothing")


@asynccontextmanager
async def an_admin(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def altered(kafka: KafkaSettings, topic: str, **settings: str) -> None:
    """Set these on a topic that is otherwise as declared; `_` stands for a dot."""
    spec = next(spec for spec in kafka.topics.all() if spec.name == topic)
    changed = {name.replace("_", "."): value for name, value in settings.items()}
    async with an_admin(kafka) as admin:
        await admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic, {**spec.config, **changed})]
        )

    async def visible():
        return changed.items() <= (await config_of(kafka, topic)).items()

    await until(visible, what="the topic as it is now")


async def config_of(kafka: KafkaSettings, topic: str) -> Mapping[str, str]:
    async with an_admin(kafka) as admin:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    ((_, _, _, _, entries),) = answer.resources
    return {entry[0]: entry[1] for entry in entries}


# --- roles --------------------------------------------------------------------------------------------


async def web(kafka: KafkaSettings) -> None:
    async with Deployment(kafka) as deployment:
        await deployment.web()


async def worker(kafka: KafkaSettings) -> None:
    async with Deployment(kafka) as deployment:
        await deployment.worker()


async def sink(kafka: KafkaSettings) -> None:
    settings = SinkSettings(kafka=kafka, database=NO_DATABASE, group_id=f"{kafka.topics.prefix}sink")
    await run_sink(settings, stop=asyncio.Event())


async def verification(kafka: KafkaSettings) -> None:
    await verify(RecoverySettings(kafka=kafka, database=NO_DATABASE))


EVERYBODY = [web, worker, sink, verification, declare_topics]


@pytest.mark.parametrize("start", EVERYBODY)
async def test_a_changelog_that_is_deleted_is_refused_by_every_role(kafka, start):
    await altered(kafka, kafka.topics.state, cleanup_policy="delete")
    with pytest.raises(TopicMismatch) as refused:
        async with asyncio.timeout(30):
            await start(kafka)
    assert f"topic {kafka.topics.state}: cleanup.policy is delete, compact is needed" in str(refused.value)
    assert "`clusterflow topics --repair`" in str(refused.value)


@pytest.mark.parametrize("start", EVERYBODY)
async def test_another_partition_count_is_refused_by_every_role(kafka, start):
    with pytest.raises(TopicMismatch, match="KAFKA_PARTITIONS is fixed"):
        async with asyncio.timeout(30):
            await start(replace(kafka, partitions=kafka.partitions + 1))


async def test_a_dead_letter_topic_keeps_the_partitions_that_it_has(kafka):
    name = Topics.dead_letters(kafka.topics.commands)
    async with an_admin(kafka) as admin:
        await admin.create_partitions({name: NewPartitions(total_count=kafka.partitions)})

        async def visible():
            (topic,) = await admin.describe_topics([name])
            return kafka.partitions == len(topic["partitions"])

        await until(visible, what="the partitions that an earlier version made")
    assert ([], [], []) == await declare_topics(kafka)
    await check_topics(kafka)


@pytest.mark.parametrize("start", [web, worker])
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("message_timestamp_type", "CreateTime"),
        ("max_message_bytes", "100000"),
        ("retention_ms", "60000"),
        ("cleanup_policy", "compact,delete"),
        ("retention_bytes", "1000000"),
    ],
)
async def test_an_input_topic_with_which_data_would_be_lost_is_refused(kafka, start, setting, value):
    await altered(kafka, kafka.topics.commands, **{setting: value})
    with pytest.raises(TopicMismatch, match=setting.replace("_", ".")):
        async with asyncio.timeout(30):
            await start(kafka)


async def test_a_role_looks_at_the_topics_that_it_uses_alone(kafka):
    await altered(kafka, kafka.topics.names, cleanup_policy="delete")
    await web(kafka)
    with pytest.raises(TopicMismatch):
        await worker(kafka)


async def test_what_is_doubtful_is_logged_and_a_role_starts(kafka, caplog):
    await altered(kafka, kafka.topics.state, delete_retention_ms="1000")
    await web(kafka)
    (line,) = [record for record in caplog.records if record.message == "doubtful topic"]
    assert (kafka.topics.state, "delete.retention.ms", "1000") == (line.topic, line.setting, line.found)


async def test_a_role_that_may_not_ask_for_settings_starts_and_says_so(kafka, caplog, monkeypatch):
    async def nothing(self, resources):
        code = TopicAuthorizationFailedError.errno
        return [SimpleNamespace(resources=[(code, "", 2, resource.name, []) for resource in resources])]

    monkeypatch.setattr(AIOKafkaAdminClient, "describe_configs", nothing)
    await web(kafka)
    doubtful = {record.topic for record in caplog.records if record.message == "doubtful topic"}
    topics = kafka.topics
    requests = {topics.create_requests, topics.name_requests, topics.commands, topics.accepted_commands}
    served = [flow for flow in SIMPLE_FLOWS if WEB in (*flow.apis, *flow.helpers)]
    kinds = {topics.of(name) for flow in served for name in (flow.commands, flow.state, flow.results) if name}
    assert {*requests, topics.reports, topics.results, topics.state, *kinds} == doubtful


# --- clusterflow topics -------------------------------------------------------------------------------


async def test_repair_sets_what_can_be_set_and_keeps_what_else_is_set(kafka):
    topics = kafka.topics
    await altered(kafka, topics.state, cleanup_policy="delete", segment_bytes="2000000")
    await altered(kafka, topics.commands, message_timestamp_type="CreateTime", retention_ms="1000")
    with pytest.raises(TopicMismatch):
        await declare_topics(kafka)

    declared = await declare_topics(kafka, repair=True)

    assert {
        (topics.state, "cleanup.policy"),
        (topics.commands, "message.timestamp.type"),
        (topics.commands, "retention.ms"),
    } == {(finding.topic, finding.setting) for finding in declared.repaired}

    async def is_right():
        state, commands = await config_of(kafka, topics.state), await config_of(kafka, topics.commands)
        return ("compact", "2000000", "LogAppendTime", "604800000") == (
            state["cleanup.policy"],
            state["segment.bytes"],
            commands["message.timestamp.type"],
            commands["retention.ms"],
        )

    await until(is_right, what="topics set right")
    assert ([], [], []) == await declare_topics(kafka)


async def test_a_partition_count_cannot_be_repaired_and_nothing_else_is_touched(kafka):
    await altered(kafka, kafka.topics.state, cleanup_policy="delete")
    with pytest.raises(TopicMismatch, match="KAFKA_PARTITIONS"):
        await declare_topics(replace(kafka, partitions=kafka.partitions + 1), repair=True)
    assert "delete" == (await config_of(kafka, kafka.topics.state))["cleanup.policy"]


async def test_the_command_tells_what_it_refuses_sets_and_doubts(kafka):
    environment = environment_of(kafka, "postgresql://nowhere/db")
    await altered(kafka, kafka.topics.results, cleanup_policy="compact", retention_ms="7200000")

    refused = await asyncio.to_thread(run_command, "topics", **environment)
    assert 1 == refused.returncode
    assert f"topic {kafka.topics.results}: cleanup.policy is compact, delete is needed" in refused.stderr
    repaired = await asyncio.to_thread(run_command, "topics", "--repair", **environment)
    assert 0 == repaired.returncode
    assert {
        f"set {kafka.topics.results}: cleanup.policy to delete, was compact",
        f"set {kafka.topics.results}: retention.ms to 86400000, was 7200000",
    } == set(repaired.stdout.splitlines())

    await altered(kafka, kafka.topics.results, retention_ms="7200000")
    warned = await asyncio.to_thread(run_command, "topics", **environment)
    assert (0, "") == (warned.returncode, warned.stdout)
    assert f"warning: topic {kafka.topics.results}: retention.ms is 7200000" in warned.stderr


async def test_a_broker_that_makes_topics_by_itself_makes_none_of_ours(tmp_path, monkeypatch):
    monkeypatch.setitem(embedded.BEHAVIOUR, "auto.create.topics.enable", "true")
    stack = Stack(tmp_path)
    await asyncio.to_thread(stack.start, ["kafka"])
    try:
        servers = stack.kafka.bootstrap_servers
        kafka = KafkaSettings(bootstrap_servers=servers, topics=Topics("own."), partitions=3, replication=1)
        with pytest.raises(TopicMismatch, match="missing topics"):
            await check_topics(kafka)
        declared = await declare_topics(kafka)
        assert {spec.name for spec in kafka.topics.all()} == set(declared.created)
        await check_topics(kafka)
    finally:
        await asyncio.to_thread(stack.stop)
