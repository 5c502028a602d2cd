"""What is on the topics is what `/asyncapi.json` says, and all of it."""

import json
from collections import defaultdict
from datetime import timedelta
from uuid import uuid4

import pytest

from domain.policy import Policy
from streams.described.asyncapi import document
from streams.settings import KafkaSettings
from tests.conftest import until
from tests.descriptions.asyncapi import references, validator
from tests.e2e.product import CONTROLLER, SPEC, Deployment, available, command, headers_of, report

BAD = {
    "cluster-create-requests": b"{}",
    "cluster-commands": b"no JSON",
    "cluster-status-reports": b'{"controller_name": ""}',
    "reconcile-ticks": b"[]",
}
PRODUCED = [
    *("cluster-create-requests", "cluster-commands", "cluster-status-reports", "reconcile-ticks"),
    *("cluster-names", "cluster-state", "cluster-events", "cluster-command-results"),
    *(f"{topic}.dlq" for topic in BAD),
]


@pytest.fixture(scope="module")
async def after_traffic(servers):
    """A deployment after some of everything: REST, Kafka-native, reports, ticks, deletes, dead letters."""
    policy = Policy(attention_interval=timedelta(seconds=1), reactive=True)
    async with Deployment(await servers.new_topics(), policy=policy) as deployment:
        await deployment.worker(tick_interval=timedelta(seconds=1))
        api = await deployment.web("owner@example.com")
        await _by_rest(api)
        await _by_kafka(deployment, api)
        for topic, value in BAD.items():
            partition = 0 if topic == "reconcile-ticks" else None
            await deployment.log(topic).publish(
                "11111111-1111-4111-8111-111111111111", value, partition=partition
            )
        for topic in PRODUCED:
            await until(deployment.log(topic).read, what=f"a record on {topic}")
        yield deployment, (await api.get("/asyncapi.json")).json


async def _by_rest(api):
    created = (await api.create("one", {**SPEC, "x": [1, None]}, target_project_id="p")).json
    await api.create("one")
    key = {"Idempotency-Key": "k", "X-Request-ID": "r"}
    for _ in range(2):
        await api.request("PUT", created["id"], {"spec": {"platform": {"type": "AWS"}}}, headers=key)
    await api.update(created["id"], resource_version="old")
    error = {"message": "m", "errorType": "Transient", "details": {"a": 1}, "retryAfter": "5m"}
    await api.report(
        created["id"],
        observed_generation=2,
        conditions=available("False"),
        last_error=error,
        metadata={"a": []},
    )
    await api.report(created["id"], observed_generation=1)
    await api.as_(CONTROLLER).delete(created["id"], force=True)


async def _by_kafka(deployment, api):
    cluster = await api.created("two")
    id_, commands, results = (
        cluster["id"],
        deployment.log("cluster-commands"),
        deployment.log("cluster-command-results"),
    )
    native = command("create", str(uuid4()), api.email, name="native", spec=SPEC)
    key = f"{api.email}/native"
    await deployment.log("cluster-create-requests").publish(key, native, headers={"request_id": "r"})
    sent = [
        command("update", id_, api.email, spec=SPEC, expected_generation=1),
        command("update", id_, api.email, spec=SPEC, expected_generation=1),
        command("reconcile", id_, api.email),
        command("delete", id_, "stranger@example.com", force=True),
    ]
    await commands.publish_all([(id_, body) for body in sent], headers={"request_id": "r"})
    body = report(
        id_, observed_generation=2, conditions=available(severity="Info"), report_id=sent[0]["command_id"]
    )
    await deployment.log("cluster-status-reports").publish(id_, body)
    await results.wait_for(id_, lambda result: result["command_id"] == sent[-1]["command_id"])
    await deployment.log("cluster-events").wait_for(
        id_, lambda event: event["metadata"].get("scheduled_by") == "reconciliation_scheduler"
    )


async def records(deployment, topic):
    """What is on a topic, without what was parked off it: nobody vouches for that."""
    parked = {
        (headers["dlq_partition"], headers["dlq_offset"])
        for letter in (await deployment.log(f"{topic}.dlq").read() if topic in BAD else [])
        for headers in [headers_of(letter)]
    }
    found = await deployment.log(topic).read()
    return [r for r in found if (str(r.partition), str(r.offset)) not in parked]


def message_of(described, topic, record=None):
    """The message that a record of a topic is, the topic's chief one if none is given."""
    chief, *others = described["channels"][topic]["messages"]
    return others[0] if record is not None and record.key == b"@claim" else chief


@pytest.mark.parametrize("topic", PRODUCED)
async def test_every_record_is_as_described(after_traffic, topic):
    deployment, described = after_traffic
    seen = await records(deployment, topic)
    assert seen
    for record in seen:
        message = message_of(described, deployment.log(topic).topic, record)
        validator(described, "headers", message).validate(headers_of(record))
        if record.value is not None and not topic.endswith(".dlq"):
            validator(described, "payload", message).validate(json.loads(record.value))


@pytest.mark.parametrize("topic", [topic for topic in PRODUCED if not topic.endswith(".dlq")])
async def test_no_header_is_left_out(after_traffic, topic):
    deployment, described = after_traffic
    message = message_of(described, deployment.log(topic).topic)
    reference = described["components"]["messages"][message].get("headers", {"$ref": "/none"})["$ref"]
    told = described["components"]["schemas"].get(reference.rpartition("/")[2], {"properties": {}})[
        "properties"
    ]
    carried = {name for record in await records(deployment, topic) for name in headers_of(record)}
    assert carried <= set(told)


async def test_the_traffic_has_some_of_everything(after_traffic):
    deployment, _ = after_traffic
    seen = defaultdict(set)
    for topic, members in {
        "cluster-commands": ["type"],
        "cluster-accepted-commands": ["type"],
        "cluster-create-requests": ["type"],
        "cluster-name-requests": ["type"],
        "cluster-events": ["type"],
        "cluster-command-results": ["outcome"],
    }.items():
        for record in await records(deployment, topic):
            seen[topic] |= {json.loads(record.value)[member] for member in members}
    assert {"cluster.update", "cluster.delete", "cluster.reconcile"} == seen["cluster-commands"]
    assert {"cluster.create", "cluster.update", "cluster.delete"} <= seen["cluster-accepted-commands"]
    assert {"cluster.create"} == seen["cluster-create-requests"]
    assert {"cluster.create", "name.release"} == seen["cluster-name-requests"]
    assert {f"cluster.{k}" for k in ("created", "updated", "deleted", "reconcile")} == seen["cluster-events"]
    assert {"applied", "duplicate", "rejected", "stale"} == seen["cluster-command-results"]
    reconciles = [json.loads(r.value)["metadata"] for r in await records(deployment, "cluster-events")]
    assert {"reconciliation_scheduler", "manual_trigger", "reactive_reconciliation"} <= {
        metadata.get("scheduled_by") for metadata in reconciles
    }


@pytest.mark.parametrize("topic", [topic for topic in PRODUCED if not topic.endswith(".dlq")])
async def test_a_record_of_another_shape_is_found_out(after_traffic, topic):
    deployment, described = after_traffic
    message = message_of(described, deployment.log(topic).topic)
    found = [r for r in await records(deployment, topic) if r.value is not None and r.key != b"@claim"]
    value = json.loads(found[0].value)
    payload = validator(described, "payload", message)
    assert payload.is_valid(value)
    required = next(
        name for name in value if not payload.is_valid({k: v for k, v in value.items() if k != name})
    )
    assert not payload.is_valid({**value, required: {"of": "another type"}})


@pytest.mark.parametrize(
    ("topic", "header"), [("cluster-events", "event_id"), ("cluster-commands.dlq", "dlq_reason")]
)
async def test_a_missing_header_is_found_out(after_traffic, topic, header):
    deployment, described = after_traffic
    message = message_of(described, deployment.log(topic).topic)
    headers = headers_of((await deployment.log(topic).read())[0])
    del headers[header]
    assert not validator(described, "headers", message).is_valid(headers)


def test_channels_are_the_topics():
    kafka = KafkaSettings(bootstrap_servers="nowhere:1", partitions=5, replication=2)
    channels = document(kafka, version="1")["channels"]
    assert [spec.name for spec in kafka.topics.all()] == list(channels)
    for spec in kafka.topics.all():
        binding = channels[spec.name]["bindings"]["kafka"]
        count = 1 if spec.name.endswith(".dlq") else 5
        assert (spec.name, count, 2) == (binding["topic"], binding["partitions"], binding["replicas"])
        told = binding["topicConfiguration"]
        assert [spec.config.get("cleanup.policy", "delete")] == told["cleanup.policy"]
        assert spec.config.get("retention.ms", "None") == str(told.get("retention.ms"))


def test_every_topic_has_a_sender_and_every_reference_an_end():
    described = document(KafkaSettings(bootstrap_servers="nowhere:1"), version="1")
    sent = {op["channel"]["$ref"] for op in described["operations"].values() if op["action"] == "send"}
    from_clients = {"cluster-create-requests", "cluster-commands", "cluster-status-reports"}
    assert {f"#/channels/{name}" for name in described["channels"]} == sent | {
        f"#/channels/{n}" for n in from_clients
    }
    for reference in references(described):
        target = described
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
