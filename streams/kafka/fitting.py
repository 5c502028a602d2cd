"""Compares existing topics with their declarations, in everything the product depends on.

A difference that would lose data or break a rule is refused, by `clusterflow topics` and by every role that
uses the topic when it starts. Both only warn of a difference that weakens a promise. A setting that is safer
than declared is accepted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from streams.topic import TopicSpec

Severity = Literal["refuse", "warn"]

MIN_PARTITION_BYTES: Final = 1024**3
"""Bytes of a partition. A smaller bound on its size may remove unread records within an hour."""

UNLIMITED: Final = -1
"""Kafka's value for an unbounded retention, in bytes or milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTopic:
    """A topic as a broker describes it.

    Attributes:
        replication: The copies of the partition that has the fewest.
        config: The effective settings from all sources; None if we may not read them.
        own: Those of them that are set on the topic itself.
    """

    partitions: int
    replication: int
    config: Mapping[str, str] | None
    own: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A difference between a topic and its declaration.

    Attributes:
        severity: `refuse` if nothing may start with it, `warn` if everything may.
        setting: Its name in Kafka, or `partitions`, `replication`, `settings`.
        settable: Whether `clusterflow topics --repair` can set it to what is needed.
    """

    severity: Severity
    topic: str
    setting: str
    found: str
    needed: str
    why: str
    settable: bool = True

    def __str__(self) -> str:
        return f"topic {self.topic}: {self.setting} is {self.found}, {self.needed} is needed: {self.why}"


def compare(spec: TopicSpec, found: FoundTopic, *, partitions: int, replication: int) -> list[Finding]:
    """The differences from the declaration that matter.

    Args:
        partitions, replication: As configured, for every topic that does not declare its own number.
    """
    return [
        *_layout(spec, found, partitions, replication),
        *(_config(spec, found.config, found.replication) if found.config is not None else _unknown(spec)),
    ]


def _layout(spec: TopicSpec, found: FoundTopic, partitions: int, replication: int) -> Iterator[Finding]:
    if spec.partitions is None and found.partitions != partitions:  # topics with their own count may differ
        yield Finding(
            severity="refuse",
            topic=spec.name,
            setting="partitions",
            found=str(found.partitions),
            needed=str(partitions),
            why="KAFKA_PARTITIONS is fixed for the life of the data; set it back, or start with new topics",
            settable=False,
        )
    if found.replication < replication:
        yield Finding(
            severity="warn",
            topic=spec.name,
            setting="replication",
            found=str(found.replication),
            needed=str(replication),
            why="fewer brokers may fail than KAFKA_REPLICATION says; move it with kafka-reassign-partitions",
            settable=False,
        )


def _unknown(spec: TopicSpec) -> Iterator[Finding]:
    yield Finding(
        severity="warn",
        topic=spec.name,
        setting="settings",
        found="unknown",
        needed="DescribeConfigs",
        why="this principal may not ask for them; grant it, or run `clusterflow topics` with one that may",
        settable=False,
    )


@dataclass(frozen=True, slots=True)
class _Settings:
    """The settings of one topic, compared one at a time; settings that the broker omits are skipped."""

    topic: str
    config: Mapping[str, str]

    def unless(
        self, fits: bool, severity: Severity, setting: str, needed: object, why: str
    ) -> Iterator[Finding]:
        if not fits and setting in self.config:
            found = self.config[setting] or "empty"
            yield Finding(
                severity=severity, topic=self.topic, setting=setting, found=found, needed=str(needed), why=why
            )

    def number(self, setting: str, otherwise: int) -> int:
        return int(self.config.get(setting, otherwise))


def _config(spec: TopicSpec, config: Mapping[str, str], replication: int) -> Iterator[Finding]:
    settings = _Settings(spec.name, config)
    yield from _largest(spec, settings)
    if spec.retention is None:
        yield from _changelog(spec, settings)
    else:
        yield from _queue(spec, settings)
    if spec.from_outside:
        yield from settings.unless(
            config.get("message.timestamp.type") == "LogAppendTime",
            "refuse",
            "message.timestamp.type",
            "LogAppendTime",
            "clients would set the time by which clusters are reconciled, fail and are purged",
        )
    yield from _copies(settings, replication)


def _largest(spec: TopicSpec, settings: _Settings) -> Iterator[Finding]:
    declared = int(spec.config["max.message.bytes"])
    found = settings.number("max.message.bytes", declared)
    yield from settings.unless(
        found >= declared,
        "refuse",
        "max.message.bytes",
        declared,
        "the broker would refuse records that the product makes or takes",
    )
    if spec.from_outside:
        yield from settings.unless(
            found <= declared,
            "warn",
            "max.message.bytes",
            declared,
            "larger records are taken, to be parked as too large, and may not fit into the dead-letter topic",
        )


def _changelog(spec: TopicSpec, settings: _Settings) -> Iterator[Finding]:
    yield from settings.unless(
        settings.config.get("cleanup.policy") == "compact",
        "refuse",
        "cleanup.policy",
        "compact",
        "this is the state itself, and deletion loses what has not changed for long; what is gone already"
        " comes back by `clusterflow rebuild` alone",
    )
    whys = {
        "min.compaction.lag.ms": "watchers that resume may miss what is compacted away sooner",
        "delete.retention.ms": "a sink that was away for longer would not learn of purged clusters",
    }
    for setting, why in whys.items():
        declared = int(spec.config[setting])
        fits = settings.number(setting, declared) >= declared
        yield from settings.unless(fits, "warn", setting, declared, why)


def _queue(spec: TopicSpec, settings: _Settings) -> Iterator[Finding]:
    yield from settings.unless(
        "compact" not in settings.config.get("cleanup.policy", "delete"),
        "refuse",
        "cleanup.policy",
        "delete",
        "each record counts, and compaction keeps the last one of a key alone",
    )
    declared = int(spec.config["retention.ms"])
    kept = settings.number("retention.ms", UNLIMITED)
    least = 0 if spec.least_retention is None else int(spec.least_retention.total_seconds() * 1000)
    yield from settings.unless(
        kept == UNLIMITED or kept >= declared,
        "refuse" if kept < least else "warn",
        "retention.ms",
        declared,
        "readers that are away for longer lose records"
        + (f"; less than {least} is refused" if kept < least else ""),
    )
    room = settings.number("retention.bytes", UNLIMITED)
    yield from settings.unless(
        room == UNLIMITED,
        "refuse" if spec.least_retention is not None and room < MIN_PARTITION_BYTES else "warn",
        "retention.bytes",
        UNLIMITED,
        "under load records go before their time, read or not",
    )


def in_sync_at_least(replication: int) -> int:
    """The minimum of in-sync replicas for a write, given the replication: one broker may be lost."""
    return max(1, replication - 1)


def _copies(settings: _Settings, replication: int) -> Iterator[Finding]:
    in_sync = settings.number("min.insync.replicas", 1)
    safe = in_sync_at_least(replication)
    yield from settings.unless(
        in_sync <= replication,
        "refuse",
        "min.insync.replicas",
        safe,
        f"there are {replication} copies, so that no write is ever acknowledged",
    )
    yield from settings.unless(
        replication < 3 or in_sync > 1,
        "warn",
        "min.insync.replicas",
        safe,
        "a write that only one broker has is acknowledged, and lost with it",
    )
    yield from settings.unless(
        settings.config.get("unclean.leader.election.enable", "false") == "false",
        "warn",
        "unclean.leader.election.enable",
        "false",
        "a broker that has missed acknowledged records may become the leader, and they are lost",
    )
