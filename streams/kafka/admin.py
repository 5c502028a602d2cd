"""Declares topics and checks them: what is missing is created, what is there is compared (`fitting`)."""

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

# Where a setting comes from, in answers of the broker (Kafka's DescribeConfigsResponse.ConfigSource).
_SET_ON_TOPIC: Final = 1

# Settings of a topic that is not there, or that we may not ask for.
_NOT_TOLD: Final = (
    UnknownTopicOrPartitionError.errno,
    TopicAuthorizationFailedError.errno,
    ClusterAuthorizationFailedError.errno,
)

# A broker answers before every partition it has just made has its leader.
_VISIBLE_WITHIN: Final = 15.0


class TopicMismatch(ControlPlaneError):
    """Topics are missing, or have settings with which data would be lost or rules broken."""


class Declared(NamedTuple):
    """What `declare_topics` has done.

    Attributes:
        created: Names of topics that were not there.
        repaired: What was not as needed, and is now.
        doubtful: What is still not as declared; it may stay so.
    """

    created: Sequence[str]
    repaired: Sequence[Finding]
    doubtful: Sequence[Finding]


async def declare_topics(kafka: KafkaSettings, *, repair: bool = False) -> Declared:
    """Create the topics that are missing, compare the others, and wait until all can be used.

    Topics that are there get the settings they lack. What is set on them stays, unless it is to be repaired.

    Raises: TopicMismatch: with all that would lose data or break a rule, and what to do about it.
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
        role: Whose topics; None for all.

    Raises: TopicMismatch: with all that would lose data or break a rule, and what to do about it.
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
    """Which Kafka this is: offsets mean nothing in another. Raises: KafkaError: no broker answers."""
    async with _admin(kafka, request_timeout_ms=REQUEST_MS) as admin:
        return str((await admin.describe_cluster())["cluster_id"])


async def group_members(kafka: KafkaSettings, group: str) -> set[str]:
    """Who is in a consumer group now; nobody in one that never was. Raises: KafkaError."""
    deadline = time.monotonic() + _VISIBLE_WITHIN
    async with _admin(kafka) as admin:
        while True:
            try:
                [response] = await admin.describe_consumer_groups([group])
                [(code, _, _, _, _, members, *_)] = response.groups
                if code:
                    raise for_code(code)(group)
                return {member[0] for member in members}
            except KafkaError as error:  # a new broker makes the topic of its groups when first asked
                if not error.retriable or time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(0.1)


async def answers(kafka: KafkaSettings, *, within: float) -> bool:
    """Whether a broker answers a new client in so many seconds."""
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


async def _found(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> dict[str, FoundTopic]:
    """The topics that are there, asked for at once.

    Raises: TopicMismatch: we may not see one of them. ControlPlaneError: a broker would not answer.
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
    """What a broker knows of topics. `describe_topics` would have it make those that are missing."""
    request = MetadataRequest([spec.name for spec in specs], allow_auto_topic_creation=False)
    topics: Sequence[Mapping[str, Any]] = (await admin._send_request(request)).to_object()["topics"]
    return topics


async def _configs(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]
) -> Mapping[str, Sequence[Sequence[Any]]]:
    """The entries of each topic that is there and whose settings we may ask for."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, spec.name) for spec in specs]
    configs = {}
    for answer in await admin.describe_configs(asked):
        for code, text, _, name, entries in answer.resources:
            if code == 0:
                configs[name] = entries
            elif code not in _NOT_TOLD:
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
    """The findings, if all are warnings. Raises: TopicMismatch: with those that are not."""
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
    """By topic, the settings that are not set on it: those that are new since it was made."""
    lacking = {}
    for spec in specs:
        topic = found.get(spec.name)
        if topic is not None and topic.config is not None and (new := spec.config.keys() - topic.own.keys()):
            lacking[spec.name] = {name: spec.config[name] for name in sorted(new)}
    return lacking


async def _alter(
    admin: AIOKafkaAdminClient, found: Mapping[str, FoundTopic], changes: Mapping[str, Mapping[str, str]]
) -> None:
    """Change settings of topics. Kafka forgets what a change leaves out, so all that is set goes with it."""
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
    """Raises: NotPermitted: that is what a broker's error code says."""
    if code in (TopicAuthorizationFailedError.errno, ClusterAuthorizationFailedError.errno):
        raise NotPermitted(f"this principal lacks {operation} on topic {topic}: {HOW_TO_GRANT}")


def _with(topic: FoundTopic, changed: Mapping[str, str]) -> FoundTopic:
    if topic.config is None:
        return topic
    return replace(topic, config={**topic.config, **changed}, own={**topic.own, **changed})


async def _usable(admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec]) -> None:
    """Wait until each partition has its leader. Raises: TopicMismatch: in vain."""
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
