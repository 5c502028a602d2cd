"""What a kind gets by its flow alone: topics, grants, checks, channels and schemas."""

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import pytest
from jsonschema import FormatChecker
from jsonschema.validators import Draft202012Validator

from domain.entity import Kind, VersionedEntity
from domain.errors import MalformedRecord
from streams.cause import Cause, Woken
from streams.cluster.flow import CLUSTER
from streams.described.asyncapi import document
from streams.described.schemas.catalogue import documents
from streams.flow import Flow
from streams.json import encode
from streams.kafka.acls import checked
from streams.kafka.roles import SINK, WEB, WORKER
from streams.messages import EntityResult
from streams.settings import KafkaSettings
from streams.topics import Topics
from tests.descriptions.asyncapi import references, validator
from tests.e2e.permitted import printed
from tests.streams.toy import T0, TOY, Broken, Make, ToyState, decide, evolve

OTHER = Flow(
    kind=Kind(name="game", state=ToyState, decide=decide, evolve=evolve),
    messages=Make,
    commands="game.commands",
    state="game-state",
    shown="toy",
)
WITHOUT = Topics("p.", flows=(CLUSTER,))
TOPICS = Topics("p.", flows=(CLUSTER, TOY))
KAFKA = KafkaSettings(bootstrap_servers="nowhere:1", topics=TOPICS, partitions=5)
DAY = 86_400_000

MAKE = Make(id="t1", command_id="c1", name="ball")
MADE, *_ = decide(None, MAKE, T0)
STATE = msgspec.structs.replace(evolve(None, MADE), revision=1, version=1)
CAUSE = Cause("c1", T0, {"request_id": "r", "traceparent": "00-1-2-01"})


def record_of(output, *, key=None):
    """A record as an agent's transport hands it on."""
    headers = [(name, text.encode()) for name, text in output.headers.items()]
    at = int(T0.timestamp() * 1000)
    return SimpleNamespace(key=key or output.key, value=output.value, headers=headers, timestamp=at)


# --- topics -------------------------------------------------------------------------------------------


def test_its_topics_are_declared_under_the_prefix():
    own = [spec.name for spec in TOPICS.all() if spec not in WITHOUT.all()]
    assert own == [
        *("p.toy.commands", "p.toy-state", "p.toy.made", "p.toy.broken", "p.command-results"),
        *("p.toy.commands.dlq", "p.toy-state.dlq", "p.toy.made.dlq", "p.toy.broken.dlq"),
    ]
    assert set(own[:5]) <= set(TOPICS.worked_on)


def test_where_it_is_deployed_it_has_the_same_topics_by_their_full_names():
    deployed = TOY.deployed(TOPICS.of)
    assert [TOPICS.of(topic.spec.name) for topic in TOY.topics] == [
        topic.spec.name for topic in deployed.topics
    ]
    assert "toy.commands" == TOY.commands


def test_where_it_is_deployed_its_records_differ_by_their_topic_alone():
    def outputs(flow):
        yield flow.command(MAKE, {})
        yield flow.wake(0, T0)
        yield from flow.announce(MADE, STATE, CAUSE)

    full = [output._replace(topic=TOPICS.of(output.topic)) for output in outputs(TOY)]
    assert full == list(outputs(TOY.deployed(TOPICS.of)))


def test_its_topics_are_kept_as_it_says():
    config = {spec.name.removeprefix("p."): spec.config for spec in TOPICS.all()}
    for name in ("toy.commands", "toy.made", "toy.broken"):
        assert str(30 * DAY) == config[name]["retention.ms"]
    assert "LogAppendTime" == config["toy.commands"]["message.timestamp.type"]
    assert "compact" == config["toy-state"]["cleanup.policy"]


def test_kinds_share_one_topic_of_results():
    topics = Topics(flows=(CLUSTER, TOY, OTHER))
    counted = Counter(spec.name for spec in topics.all())
    assert {1} == set(counted.values())
    assert "command-results" in counted


def test_without_a_simple_kind_there_is_no_topic_of_its_results():
    assert "command-results" not in {spec.name for spec in WITHOUT.all()}


def test_only_the_events_of_clusters_may_have_another_name():
    topics = Topics("p.", "changes", flows=(CLUSTER, TOY))
    assert ("p.changes", "p.toy.made") == (topics.of("cluster-events"), topics.of("toy.made"))
    assert topics.events == "p.changes"


# --- who may do what ----------------------------------------------------------------------------------


def test_roles_and_clients_are_granted_what_it_needs():
    parked = ("toy.commands", "toy-state", "toy.made")
    ours = {*parked, "command-results", *(f"{name}.dlq" for name in parked)}
    granted = {
        (each.of, each.operation, name)
        for each in printed(TOPICS, ["dns"])
        if (name := each.name.removeprefix("p.")) in ours and each.operation in ("Read", "Write")
    }
    assert granted == {
        *(("worker", operation, "toy.commands") for operation in ("Read", "Write")),
        *(("worker", operation, "toy-state") for operation in ("Read", "Write")),
        *(("rebuild", operation, "toy-state") for operation in ("Read", "Write")),
        *(("worker", "Write", name) for name in ("toy.made", "command-results", "toy.commands.dlq")),
        *((who, "Read", "toy-state") for who in ("web", "sink", "verify")),
        *((who, "Write", "toy.commands") for who in ("web", "relay", "commander")),
        *((who, "Read", "command-results") for who in ("web", "grpc", "executor", "results-reader")),
        *((who, "Read", "toy.made") for who in ("events-reader", "recorder")),
        ("sink", "Write", "toy-state.dlq"),
        ("recorder", "Write", "toy.made.dlq"),
        *(("dead-letter-reader", "Read", f"{name}.dlq") for name in parked),
    }


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        (WEB, {"p.toy.commands", "p.toy-state", "p.command-results"}),
        (SINK, {"p.toy-state", "p.toy-state.dlq"}),
        (WORKER, {spec.name for spec in TOPICS.all()} - {spec.name for spec in WITHOUT.all()}),
    ],
)
def test_roles_check_its_topics_when_they_start(role, expected):
    assert expected == checked(role, TOPICS) - checked(role, WITHOUT)


# --- what is on its topics ----------------------------------------------------------------------------


def test_a_command_is_read_as_it_was_sent():
    sent = TOY.command(MAKE, {"request_id": "r", "idempotency_keyed": "true", "else": "x"})
    command, cause = TOY.read(record_of(sent))
    assert (MAKE, "c1", T0, {"request_id": "r"}, True) == (command, *cause[:3], cause.keyed)


def test_a_wake_is_read_with_both_times():
    told = T0.replace(year=2029)
    assert Woken(T0, told, 42) == TOY.read_wake(record_of(TOY.wake(3, told, committed=42)))


@pytest.mark.parametrize(
    ("value", "key", "reason"),
    [
        (encode(MAKE), b"t2", "bad_key"),
        (b'{"type":"toy.make","id":"t1","command_id":"c1","name":""}', b"t1", "invalid_schema"),
        (b'{"type":"toy.paint","id":"t1","command_id":"c1"}', b"t1", "invalid_schema"),
        (b"no JSON", b"t1", "invalid_schema"),
    ],
)
def test_what_is_no_command_is_malformed(value, key, reason):
    bad = TOY.command(MAKE, {})._replace(value=value)
    with pytest.raises(MalformedRecord) as refused:
        TOY.read(record_of(bad, key=key))
    assert reason == refused.value.reason


# --- descriptions -------------------------------------------------------------------------------------

OUTPUTS = {
    "toy-command": TOY.command(MAKE, {"content_type": "application/json", "request_id": "r"}),
    "wake": TOY.wake(0, T0),
    "toy-made": TOY.announced([MADE], STATE, CAUSE, producer="p")[0],
    "toy-broken": TOY.announced([Broken(T0)], STATE, CAUSE, producer="p")[0],
}


@pytest.mark.parametrize(("message", "output"), OUTPUTS.items(), ids=OUTPUTS)
def test_its_records_are_as_asyncapi_says(message, output):
    described = document(KAFKA, version="1")
    assert message in described["channels"][TOPICS.of(output.topic)]["messages"]
    for part, content in (("headers", dict(output.headers)), ("payload", json.loads(output.value))):
        validator(described, part, message).validate(content)
    assert not validator(described, "payload", message).is_valid({"id": 1})


def test_its_states_and_results_are_as_asyncapi_says():
    described = document(KAFKA, version="1")
    document_ = msgspec.Raw(encode(STATE.toy))
    applied = EntityResult(command_id="c1", outcome="applied", revision=1, kind="toy", document=document_)
    for message, value in (("toy-state", STATE), ("command-result", applied)):
        payload = validator(described, "payload", message)
        payload.validate(json.loads(encode(value)))
        assert not payload.is_valid({"outcome": "stale"})
    assert ["toy-state", "partition-claim"] == [*described["channels"]["p.toy-state"]["messages"]]


def test_asyncapi_has_its_channels_and_every_reference_an_end():
    described = document(KAFKA, version="1")
    assert [spec.name for spec in TOPICS.all()] == [*described["channels"]]
    assert {
        "web.send.p.toy.commands",
        "toy-agent.receive.p.toy.commands",
        "toy-agent.send.p.toy-state",
        "web.receive.p.toy-state",
        "sink.receive.p.toy-state",
        "toy-agent.send.p.toy.made",
        "web.receive.p.command-results",
        "toy-agent.send.p.toy.commands.dlq",
        "sink.send.p.toy-state.dlq",
    } <= set(described["operations"])
    for reference in references(described):
        target = described
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def test_its_messages_have_a_schema_each():
    found = documents((CLUSTER, TOY))
    new = {name: found[name] for name in found if name not in documents((CLUSTER,))}
    assert {"toy-command", "toy-state", "toy-made", "toy-broken", "command-result", "wake"} == set(new)
    for schema in new.values():
        Draft202012Validator.check_schema(schema)
    assert ["toy.make", "toy.break"] == new["toy-command"]["properties"]["type"]["enum"]


@pytest.mark.parametrize(
    ("members", "valid"),
    [
        ({}, True),
        ({"expected_version": 3}, True),
        ({"name": ""}, False),
        ({"name": None}, False),
        ({"command_id": 1}, False),
        ({"type": "toy.paint"}, False),
        ({"type": "toy.break"}, True),
    ],
)
def test_the_schema_of_commands_tells_good_from_bad(members, valid):
    schema = Draft202012Validator(documents((TOY,))["toy-command"], format_checker=FormatChecker())
    assert valid == schema.is_valid({**json.loads(encode(MAKE)), **members})


def test_kinds_whose_types_have_one_name_are_refused():
    another = msgspec.defstruct("Toy", [("won", bool)])
    state = msgspec.defstruct("GameState", [("toy", another)], bases=(VersionedEntity,), kw_only=True)
    game = replace(OTHER, kind=replace(OTHER.kind, state=state))
    with pytest.raises(ValueError, match="game-state: another type is called Toy, too"):
        document(replace(KAFKA, topics=Topics(flows=(TOY, game))), version="1")
