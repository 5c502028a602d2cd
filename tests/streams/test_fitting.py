"""What topics that are there are refused for, and what is only warned of."""

import pytest

from streams.kafka.fitting import MIN_PARTITION_BYTES, FoundTopic, compare
from streams.topic import MAX_INPUT_BYTES, MAX_RECORD_BYTES, TOMBSTONES_KEPT
from streams.topics import Topics

TOPICS = Topics()
SPECS = {spec.name: spec for spec in TOPICS.all()}
HOUR, DAY = 3_600_000, 86_400_000
DEFAULTS = {
    "cleanup.policy": "delete",
    "retention.bytes": "-1",
    "min.insync.replicas": "1",
    "unclean.leader.election.enable": "false",
    "message.timestamp.type": "CreateTime",
}


def found(topic, *, partitions=12, replication=1, **config):
    """A topic as it was declared, apart from what is said here; `_` in a setting's name stands for a dot."""
    other = {name.replace("_", "."): value for name, value in config.items()}
    effective = {**DEFAULTS, **SPECS[topic].config, **other}
    known = {name: value for name, value in effective.items() if value is not None}
    return FoundTopic(partitions=partitions, replication=replication, config=known, own={})


def told(topic, there, *, replication=1):
    findings = compare(SPECS[topic], there, partitions=12, replication=replication)
    return [(finding.severity, finding.setting, finding.needed) for finding in findings]


@pytest.mark.parametrize("topic", SPECS)
def test_nothing_is_found_where_a_topic_is_as_declared(topic):
    assert [] == told(topic, found(topic))


def test_a_dead_letter_topic_may_have_any_number_of_partitions():
    topic = f"{TOPICS.commands}.dlq"
    for count in (1, 12, 13):
        assert [] == told(topic, found(topic, partitions=count))
    assert [("refuse", "partitions", "12")] == told(TOPICS.commands, found(TOPICS.commands, partitions=13))


INPUTS = [TOPICS.create_requests, TOPICS.commands, TOPICS.reports]
CHANGELOGS = [TOPICS.state, TOPICS.names]
WEEK = str(7 * DAY)


@pytest.mark.parametrize(
    ("topics", "config", "expected"),
    [
        pytest.param(
            CHANGELOGS,
            {"cleanup_policy": "delete"},
            ("refuse", "cleanup.policy", "compact"),
            id="a changelog that is deleted",
        ),
        pytest.param(
            CHANGELOGS,
            {"cleanup_policy": "compact,delete"},
            ("refuse", "cleanup.policy", "compact"),
            id="a changelog that is deleted, too",
        ),
        pytest.param(
            CHANGELOGS,
            {"cleanup_policy": ""},
            ("refuse", "cleanup.policy", "compact"),
            id="a changelog that is not cleaned up",
        ),
        pytest.param(
            [*INPUTS, TOPICS.ticks, TOPICS.events, TOPICS.results, f"{TOPICS.commands}.dlq"],
            {"cleanup_policy": "compact,delete"},
            ("refuse", "cleanup.policy", "delete"),
            id="a topic of single records that is compacted",
        ),
        pytest.param(
            [*INPUTS, TOPICS.ticks],
            {"message_timestamp_type": "CreateTime"},
            ("refuse", "message.timestamp.type", "LogAppendTime"),
            id="clients that set the time",
        ),
        pytest.param(
            INPUTS,
            {"max_message_bytes": str(MAX_INPUT_BYTES - 1)},
            ("refuse", "max.message.bytes", str(MAX_INPUT_BYTES)),
            id="input smaller than we take",
        ),
        pytest.param(
            [*CHANGELOGS, TOPICS.events, TOPICS.results, f"{TOPICS.events}.dlq"],
            {"max_message_bytes": "1048588"},
            ("refuse", "max.message.bytes", str(MAX_RECORD_BYTES)),
            id="records smaller than we make",
        ),
        pytest.param(
            INPUTS,
            {"max_message_bytes": str(MAX_RECORD_BYTES)},
            ("warn", "max.message.bytes", str(MAX_INPUT_BYTES)),
            id="input larger than we take",
        ),
        pytest.param(
            [*INPUTS, TOPICS.events],
            {"retention_ms": str(DAY - 1)},
            ("refuse", "retention.ms", WEEK),
            id="kept for less than a day",
        ),
        pytest.param(
            [*INPUTS, TOPICS.events],
            {"retention_ms": str(DAY)},
            ("warn", "retention.ms", WEEK),
            id="kept for less than declared",
        ),
        pytest.param(
            [TOPICS.results],
            {"retention_ms": str(HOUR - 1)},
            ("refuse", "retention.ms", str(DAY)),
            id="results kept for less than an hour",
        ),
        pytest.param(
            [TOPICS.ticks],
            {"retention_ms": "1000"},
            ("warn", "retention.ms", str(HOUR)),
            id="ticks, of which only the last counts",
        ),
        pytest.param(
            INPUTS,
            {"retention_bytes": str(MIN_PARTITION_BYTES - 1)},
            ("refuse", "retention.bytes", "-1"),
            id="little room",
        ),
        pytest.param(
            INPUTS,
            {"retention_bytes": str(MIN_PARTITION_BYTES)},
            ("warn", "retention.bytes", "-1"),
            id="a bound on room",
        ),
        pytest.param(
            [TOPICS.ticks, f"{TOPICS.commands}.dlq"],
            {"retention_bytes": "1"},
            ("warn", "retention.bytes", "-1"),
            id="little room where nothing depends on old records",
        ),
        pytest.param(
            CHANGELOGS,
            {"min_compaction_lag_ms": "0"},
            ("warn", "min.compaction.lag.ms", str(HOUR)),
            id="a changelog compacted at once",
        ),
        pytest.param(
            CHANGELOGS,
            {"delete_retention_ms": str(DAY)},
            ("warn", "delete.retention.ms", str(int(TOMBSTONES_KEPT.total_seconds() * 1000))),
            id="tombstones that go after a day",
        ),
        pytest.param(
            SPECS,
            {"unclean_leader_election_enable": "true"},
            ("warn", "unclean.leader.election.enable", "false"),
            id="leaders that have missed records",
        ),
        pytest.param(
            SPECS,
            {"min_insync_replicas": "2"},
            ("refuse", "min.insync.replicas", "1"),
            id="more copies asked for than there are",
        ),
    ],
)
def test_what_is_found(topics, config, expected):
    for topic in topics:
        assert [expected] == told(topic, found(topic, **config)), topic


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"retention_ms": "-1"}, id="for ever"),
        pytest.param({"retention_ms": str(30 * DAY)}, id="for longer than declared"),
        pytest.param({"cleanup_policy": ""}, id="not cleaned up"),
        pytest.param(
            {"retention_bytes": None, "min_insync_replicas": None}, id="what a broker does not tell"
        ),
    ],
)
def test_what_is_safer_than_declared_or_unknown_is_left_alone(config):
    assert [] == told(TOPICS.commands, found(TOPICS.commands, **config))


def test_another_partition_count_is_refused_and_cannot_be_set():
    (finding,) = compare(
        SPECS[TOPICS.results], found(TOPICS.results, partitions=6), partitions=12, replication=1
    )
    assert ("refuse", "partitions", False) == (finding.severity, finding.setting, finding.settable)
    assert str(finding).startswith(
        "topic cluster-command-results: partitions is 6, 12 is needed: KAFKA_PARTITIONS"
    )


def test_fewer_copies_than_configured_are_warned_of():
    there = found(TOPICS.state, replication=1)
    assert [("warn", "replication", "3")] == told(TOPICS.state, there, replication=3)


@pytest.mark.parametrize(
    ("copies", "in_sync", "expected"),
    [
        pytest.param(3, "1", [("warn", "min.insync.replicas", "2")], id="one of three is enough"),
        pytest.param(3, "2", [], id="two of three"),
        pytest.param(2, "1", [], id="one of two"),
        pytest.param(3, "4", [("refuse", "min.insync.replicas", "2")], id="four of three"),
    ],
)
def test_copies_that_must_be_in_sync(copies, in_sync, expected):
    there = found(TOPICS.state, replication=copies, min_insync_replicas=in_sync)
    assert expected == told(TOPICS.state, there, replication=copies)


def test_settings_that_may_not_be_asked_for_are_warned_of():
    there = FoundTopic(partitions=12, replication=1, config=None, own={})
    assert [("warn", "settings", "DescribeConfigs")] == told(TOPICS.state, there)
