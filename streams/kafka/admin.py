"""Declares topics and checks them: creates missing ones, and compares existing ones (`fitting`)."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest

from domain.errors import ControlPlaneError, NotPermitted
from streams.kafka.acls import HOW_TO_GRANT, checked
from streams.kafka.brokers import Brokers
from streams.kafka.fitting import Finding, FoundTopic, compare, in_sync_at_least
from streams.kafka.timeouts import REQUEST_MS
from streams.settings import KafkaSettings
from streams.topic import TopicSpec

log = logging.getLogger("clusterflow.topics")

# The source of a setting, in answers of the broker (Kafka's DescribeConfigsResponse.ConfigSource).
_SET_ON_TOPIC: Final = 1

# Error codes for the settings of a topic that is missing, or that we may not read.
_UNREADABLE: Final = (
    UnknownTopicOrPartitionError.errno,
    TopicAuthorizationFailedError.errno,
    ClusterAuthorizationFailedError.errno,
)

# Seconds for leaders: a broker answers before every partition it has just made has its leader.
_VISIBLE_WITHIN: Final = 15.0


class TopicMismatch(ControlPlaneError):
    """Topics are missing, or have settings that would lose data or break rules."""


class Declared(NamedTuple):
    """The result of `declare_topics`.

    Attributes:
        created: Names of topics that it has created.
        repaired: Differences that it has repaired.
        doubtful: Remaining differences from the declarations that are tolerable.
    """

    created: Sequence[str]
    repaired: Sequence[Finding]
    doubtful: Sequence[Finding]


async def declare_topics(kafka: KafkaSettings, *, repair: bool = False) -> Declared:
    """Create missing topics, compare the others, and wait until all can be used.

    Existing topics get the settings they lack. Settings they have are changed only by a repair.

    Raises: TopicMismatch: with every difference that would lose data or break a rule, and its remedy.
    """
    specs = kafka.topics.all()
    async with _admin(kafka) as admin:
        found = await _found(admin, specs)
        changes = _lacking(specs, found)
        if changes:
            log.info("topics to be completed", extra={"topics": [*changes]})
        completed = {name: _with(topic, changes.get(name, {})) for name, topic in found.items()}
        findings = _compared(kafka, specs, completed)
        repaired = [finding for finding in findings if repair and finding.settable]
        doubtful = _refuse([finding for finding in findings if finding not in repaired])
        in_sync = {"min.insync.replicas": str(in_sync_at_least(kafka.replication))}
        missing = [
            NewTopic(
                spec.name,
                kafka.partitions_of(spec),
                kafka.replication,
                topic_configs={**in_sync, **spec.config},
            )
            for spec in specs
            if spec.name not in found
        ]
        created = _created(await admin.create_topics(missing)) if missing else []
        for finding in repaired:
            changes.setdefault(finding.topic, {})[finding.setting] = finding.needed
        await _alter(admin, found, changes)
        await _usable(admin, specs)
        _warn(doubtful)
        log.info("topics declared", extra={"topics": created})
        return Declared(created, repaired, doubtful)


async def check_topics(kafka: KafkaSettings, role: str | None = None) -> None:
    """Check that topics exist with the settings their users depend on, and warn of doubtful ones.

    Args:
        role: The role whose topics are checked; None for all topics.

    Raises: TopicMismatch: with every difference that would lose data or break a rule, and its remedy.
    """
    specs = kafka.topics.all()
    if role is not None:
        names = checked(role, kafka.topics)
        specs = tuple(spec for spec in specs if spec.name in names)
    async with _admin(kafka) as admin:
        found = await _found(admin, specs)
    _refuse_missing(spec.name for spec in specs if spec.name not in found)
    _warn(_refuse(_compared(kafka, specs, found)))


async def kafka_cluster_id(kafka: KafkaSettings) -> str:
    """The id of this Kafka; offsets mean nothing in another one. Raises: KafkaError: no broker answers."""
    async with _admin(kafka, request_timeout_ms=REQUEST_MS) as admin:
        return str((await admin.describe_cluster())["cluster_id"])


async def group_members(kafka: KafkaSettings, group: str) -> set[str]:
    """The current members of a consumer group; none if it never existed. Raises: KafkaError."""
    deadline = time.monotonic() + _VISIBLE_WITHIN
    async with _admin(kafka) as admin:
        while True:
            try:
                [response] = await admin.describe_consumer_groups([group])
                [(code, _, _, _, _, members, *_)] = response.groups
                if code:
                    raise for_code(code)(group)
                return {member[0] for member in members}
            except KafkaError as error:  # a new broker creates the topic of its groups at the first request
                if not error.retriable or time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(0.1)


async def answers(kafka: KafkaSettings, *, within: float) -> bool:
    """Whether a broker answers a new client within `within` seconds."""
    client = AIOKafkaClient(**kafka.client("clusterflow-probe"))
    Brokers(client)
    try:
        await asyncio.wait_for(client.bootstrap(), within)
        return True
    except (KafkaError, TimeoutError):
        return False
    finally:
        await client.close()


@asynccontextmanager
async def _admin(kafka: KafkaSettings, **options: Any) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**kafka.client("clusterflow-topics"), **options)
    Brokers.of(admin)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


def _created(response: Any) -> list[str]:
    created = []
    for topic, code, *rest in response.topic_errors:
        error = for_code(code)
        if code == 0:
            created.append(topic)
        elif error is not TopicAlreadyExistsError:
            _refuse_unpermitted(code, "Create", topic)
            reason = f"{error.__name__} {rest[0] if rest else ''}"
            raise ControlPlaneError(f"cannot create topic {topic}: {reason}")
    return created


async def partitions_of_states(kafka: KafkaSettings) -> int | None:
    """The number of partitions that the topic of states was made with; None if there is none yet."""
    name = kafka.topics.state
    async with _admin(kafka) as admin:
        found = await _found(admin, [spec for spec in kafka.topics.all() if spec.name == name])
    return found[name].partitions if name in found else None


async def _found(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> dict[str, FoundTopic]:
    """The existing topics, requested in parallel.

    Raises: TopicMismatch: we may not see one of them. ControlPlaneError: a broker did not answer.
    """
    layouts, configs = await asyncio.gather(_metadata(admin, specs), _configs(admin, specs))
    found = {}
    for topic in layouts:
        name, partitions = topic["topic"], topic["partitions"]
        if topic["error_code"] == TopicAuthorizationFailedError.errno:
            raise TopicMismatch(
                f"topic {name} may not be seen: this principal lacks Describe on it; {HOW_TO_GRANT}"
            )
        if topic["error_code"] or not partitions:
            continue
        config = configs.get(name)
        found[name] = FoundTopic(
            partitions=len(partitions),
            replication=min(len(partition["replicas"]) for partition in partitions),
            config=None if config is None else {entry[0]: entry[1] for entry in config},
            own={entry[0]: entry[1] for entry in config or () if entry[3] == _SET_ON_TOPIC},
        )
    return found


async def _metadata(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> Sequence[Mapping[str, Any]]:
    """A broker's metadata of topics. `describe_topics` would make the broker create missing ones."""
    request = MetadataRequest([spec.name for spec in specs], allow_auto_topic_creation=False)
    topics: Sequence[Mapping[str, Any]] = (await admin._send_request(request)).to_object()["topics"]
    return topics


async def _configs(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]
) -> Mapping[str, Sequence[Sequence[Any]]]:
    """The entries of each existing topic whose settings we may read."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, spec.name) for spec in specs]
    configs = {}
    for answer in await admin.describe_configs(asked):
        for code, text, _, name, entries in answer.resources:
            if code == 0:
                configs[name] = entries
            elif code not in _UNREADABLE:
                raise ControlPlaneError(
                    f"cannot look at topic {name}: {for_code(code).__name__} {text or ''}"
                )
    return configs


def _compared(
    kafka: KafkaSettings, specs: Sequence[TopicSpec], found: Mapping[str, FoundTopic]
) -> list[Finding]:
    return [
        finding
        for spec in specs
        if spec.name in found
        for finding in compare(
            spec, found[spec.name], partitions=kafka.partitions, replication=kafka.replication
        )
    ]


def _refuse(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings if all are warnings. Raises: TopicMismatch: with those that are not."""
    refused = [finding for finding in findings if finding.severity == "refuse"]
    if refused:
        remedy = "; `clusterflow topics --repair` sets it right"
        raise TopicMismatch(
            "\n".join(f"{finding}{remedy if finding.settable else ''}" for finding in refused)
        )
    return list(findings)


def _warn(doubtful: Iterable[Finding]) -> None:
    for finding in doubtful:
        about = {"topic": finding.topic, "setting": finding.setting, "found": finding.found}
        log.warning("doubtful topic", extra={**about, "needed": finding.needed, "why": finding.why})


def _refuse_missing(names: Iterable[str]) -> None:
    if missing := sorted(names):
        raise TopicMismatch(f"missing topics: {', '.join(missing)}; run `clusterflow topics`")


def _lacking(specs: Sequence[TopicSpec], found: Mapping[str, FoundTopic]) -> dict[str, dict[str, str]]:
    """By topic, the settings that it lacks, because they were declared after it was created."""
    lacking = {}
    for spec in specs:
        topic = found.get(spec.name)
        if topic is not None and topic.config is not None and (new := spec.config.keys() - topic.own.keys()):
            lacking[spec.name] = {name: spec.config[name] for name in sorted(new)}
    return lacking


async def _alter(
    admin: AIOKafkaAdminClient, found: Mapping[str, FoundTopic], changes: Mapping[str, Mapping[str, str]]
) -> None:
    """Change settings of topics. Kafka resets settings that a request omits, so it contains all of them."""
    if not changes:
        return
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, name, {**found[name].own, **changed})
        for name, changed in changes.items()
    ]
    for answer in await admin.alter_configs(resources):
        for code, text, _, name in answer.resources:
            if code:
                _refuse_unpermitted(code, "AlterConfigs", name)
                raise ControlPlaneError(f"cannot set topic {name}: {for_code(code).__name__} {text or ''}")


def _refuse_unpermitted(code: int, operation: str, topic: str) -> None:
    """Raises: NotPermitted: the broker's error code says so."""
    if code in (TopicAuthorizationFailedError.errno, ClusterAuthorizationFailedError.errno):
        raise NotPermitted(f"this principal lacks {operation} on topic {topic}: {HOW_TO_GRANT}")


def _with(topic: FoundTopic, changed: Mapping[str, str]) -> FoundTopic:
    if topic.config is None:
        return topic
    return replace(topic, config={**topic.config, **changed}, own={**topic.own, **changed})


async def _usable(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> None:
    """Wait until each partition has its leader. Raises: TopicMismatch: one has none in time."""
    deadline = time.monotonic() + _VISIBLE_WITHIN
    while True:
        led = {
            topic["topic"]
            for topic in await _metadata(admin, specs)
            if not topic["error_code"] and all(p["leader"] >= 0 for p in topic["partitions"])
        }
        if all(spec.name in led for spec in specs):
            return
        if time.monotonic() >= deadline:
            _refuse_missing(spec.name for spec in specs if spec.name not in led)
        await asyncio.sleep(0.05)
