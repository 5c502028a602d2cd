"""Contract section 10: clients that publish commands and reports themselves fare exactly like REST."""

import asyncio
import json
from uuid import uuid4

import pytest

from streams.topic import MAX_INPUT_BYTES
from streams.writing.outputs import batch_bytes
from tests.conftest import until
from tests.e2e.product import (
    CONTROLLER,
    SPEC,
    Deployment,
    an_owner,
    available,
    command,
    headers_of,
    report,
)
from tests.web.answers import check_cluster, check_error

COMMANDS, CREATES, REPORTS = "cluster-commands", "cluster-create-requests", "cluster-status-reports"


@pytest.fixture
def native(api, product):
    return Native(api, product)


class Native:
    """A client of the topics, as one identity."""

    def __init__(self, api, product):
        self.api, self.product, self.email = api, product, api.email

    async def result(self, cluster_id, command_id):
        log = self.product.log("cluster-command-results")
        return await log.wait_for(cluster_id, lambda body: body["command_id"] == command_id)

    async def send(self, kind, cluster_id, *, by=None, **members):
        """Send a command and wait for its result."""
        body = command(kind, cluster_id, by or self.email, **members)
        topic, key = COMMANDS, cluster_id
        if kind == "create":
            topic, key = CREATES, f"{body['user_email']}/{body['name']}"
        await self.product.log(topic).publish(key, body)
        return await self.result(cluster_id.lower(), body["command_id"])

    async def created(self, name="native", **members):
        cluster_id = str(uuid4())
        result = await self.send("create", cluster_id, name=name, spec=SPEC, **members)
        assert result["outcome"] == "applied", result
        return cluster_id

    async def shown(self, cluster_id, fits=lambda cluster: True):
        """The cluster as REST shows it, once it fits."""

        async def get():
            answer = await self.api.get(cluster_id)
            return answer.json if answer.status == 200 and fits(answer.json) else None

        return await until(get, within=20, what=f"GET {cluster_id}")

    async def dead(self, topic, key, *, value=...):
        """The dead letter of a key (and value), with its headers."""
        log = self.product.log(f"{topic}.dlq")
        raw = key if key is None or isinstance(key, bytes) else key.encode()

        async def found():
            return [r for r in await log.read() if r.key == raw and (value is ... or r.value == value)]

        (letter,) = await until(found, within=20, what=f"a dead letter of {key}")
        return letter, headers_of(letter)


# --- what clients may not say -------------------------------------------------------------------------


async def test_a_client_cannot_free_the_name_of_a_live_cluster(native, product):
    cluster_id = await native.created("mine")
    release = {"type": "name.release", "release": True, "cluster_id": cluster_id}
    await product.log(CREATES).publish(f"{native.email}/mine", release)
    _, headers = await native.dead(CREATES, f"{native.email}/mine")
    assert "invalid_schema" == headers["dlq_reason"]
    assert 409 == (await native.api.create("mine")).status


async def test_a_client_cannot_admit_its_own_create(native, product):
    await native.created("taken")
    second = str(uuid4())
    create = command("create", second, native.email, name="taken", spec=SPEC)
    told = {"name_admitted": "true", "triggered_by": "api_request"}
    await product.log(COMMANDS).publish(second, create, headers=told)
    _, headers = await native.dead(COMMANDS, second)
    assert "wrong_topic" == headers["dlq_reason"]
    assert 404 == (await native.api.get(second)).status


async def test_a_client_cannot_say_that_it_came_by_rest(native, product):
    cluster_id = str(uuid4())
    key, told = f"{native.email}/posing", {"triggered_by": "api_request", "origin": "x/1"}
    create = command("create", cluster_id, native.email, name="posing", spec=SPEC)
    update = command("update", cluster_id, native.email, spec=SPEC)
    await product.log(CREATES).publish(key, create, headers=told)
    await native.result(cluster_id, create["command_id"])
    await product.log(COMMANDS).publish(cluster_id, update, headers=told)
    await native.result(cluster_id, update["command_id"])
    events = await product.log("cluster-events").bodies(cluster_id)
    assert ["kafka_command"] * 2 == [event["metadata"]["triggered_by"] for event in events]


async def test_a_stranger_who_repeats_a_command_s_id_is_told_nothing(native, product):
    cluster_id = await native.created()
    update = command("update", cluster_id, native.email, spec=SPEC)
    await product.log(COMMANDS).publish(cluster_id, update)
    await native.result(cluster_id, update["command_id"])
    stranger = an_owner()
    await product.log(COMMANDS).publish(cluster_id, {**update, "user_email": stranger})
    log = product.log("cluster-command-results")

    async def told():
        bodies = [b for b in await log.bodies(cluster_id) if b["command_id"] == update["command_id"]]
        return bodies if len(bodies) == 2 else None

    _, second = await until(told, within=20, what="the stranger's result")
    assert ("rejected", "RESOURCE_NOT_FOUND") == (second["outcome"], second["code"])
    assert "cluster" not in second


async def test_a_controller_who_repeats_an_owner_s_command_id_asks_for_something_of_its_own(native, product):
    cluster_id = await native.created()
    mine = await native.send("update", cluster_id, spec=SPEC)
    theirs = command("update", cluster_id, CONTROLLER, spec={**SPEC, "x": 1}, command_id=mine["command_id"])
    await product.log(COMMANDS).publish(cluster_id, theirs)
    cluster = await native.shown(cluster_id, lambda cluster: cluster["generation"] == 3)
    assert 1 == cluster["spec"]["x"]
    assert cluster["resource_version"] != mine["cluster"]["resource_version"]


@pytest.mark.parametrize("name", ["request_id", "triggered_by"])
async def test_a_header_that_no_database_can_hold_counts_as_absent(native, product, name):
    cluster_id = await native.created()
    update = command("update", cluster_id, native.email, spec=SPEC)
    await product.log(COMMANDS).publish(cluster_id, update, headers={name: "a\0b"})
    await native.result(cluster_id, update["command_id"])
    event = (await product.log("cluster-events").bodies(cluster_id))[-1]
    assert (None, "kafka_command") == (event["metadata"]["request_id"], event["metadata"]["triggered_by"])


# --- commands -----------------------------------------------------------------------------------------


async def test_a_cluster_can_be_created_over_kafka(native, product):
    cluster_id = await native.created("by-kafka", target_project_id="p")
    cluster = await native.shown(cluster_id)
    check_cluster(cluster)
    assert ("by-kafka", native.email, 1, "p") == (
        cluster["name"],
        cluster["created_by"],
        cluster["generation"],
        cluster["target_project_id"],
    )
    (event,) = await product.log("cluster-events").bodies(cluster_id)
    assert ("cluster.created", "kafka_command") == (event["type"], event["metadata"]["triggered_by"])


async def test_its_result_shows_the_cluster(native):
    cluster_id = str(uuid4())
    result = await native.send("create", cluster_id, name="shown", spec=SPEC)
    assert "applied" == result["outcome"]
    assert result["cluster"] == await native.shown(cluster_id)
    assert not result.get("code")


async def test_an_update_over_kafka_is_an_update(native):
    cluster_id = await native.created()
    result = await native.send("update", cluster_id, spec={"platform": {"type": "azure"}})
    assert ("applied", 2) == (result["outcome"], result["cluster"]["generation"])
    cluster = await native.shown(cluster_id, lambda c: c["generation"] == 2)
    assert {"platform": {"type": "azure"}} == cluster["spec"]


async def test_a_delete_over_kafka_frees_name_and_cluster(native):
    cluster_id = await native.created("gone")
    assert "applied" == (await native.send("delete", cluster_id))["outcome"]

    async def is_gone():
        return (await native.api.get(cluster_id)).status == 404

    await until(is_gone, what="404")
    assert 201 == (await native.api.create("gone")).status


@pytest.mark.parametrize(
    ("kind", "members", "code"),
    [
        pytest.param("update", {"spec": {}}, "INVALID_SPEC", id="an invalid platform"),
        pytest.param(
            "update",
            {"spec": {"platform": {"type": "GCP"}, "infraID": "1"}},
            "VALIDATION_FAILED",
            id="an invalid member",
        ),
        pytest.param(
            "update", {"spec": SPEC, "expected_generation": 7}, "GENERATION_CONFLICT", id="a generation"
        ),
        pytest.param(
            "update", {"spec": SPEC, "expected_resource_version": "x"}, "GENERATION_CONFLICT", id="a version"
        ),
        pytest.param(
            "update", {"spec": SPEC, "by": "else@example.com"}, "RESOURCE_NOT_FOUND", id="a stranger"
        ),
        pytest.param("delete", {"by": "else@example.com"}, "RESOURCE_NOT_FOUND", id="a stranger's delete"),
        pytest.param(
            "reconcile", {"by": "else@example.com"}, "RESOURCE_NOT_FOUND", id="a stranger's reconcile"
        ),
    ],
)
async def test_refusals_are_those_of_rest(native, kind, members, code):
    cluster_id = await native.created()
    result = await native.send(kind, cluster_id, **members)
    assert ("rejected", code) == (result["outcome"], result["code"])
    assert result["error"]
    if code == "GENERATION_CONFLICT":
        current = await native.shown(cluster_id)
        assert {"generation": 1, "resource_version": current["resource_version"]} == result["details"]
    assert 1 == (await native.shown(cluster_id))["generation"]


async def test_a_command_for_nothing_is_not_found(native):
    result = await native.send("update", str(uuid4()), spec=SPEC)
    assert ("rejected", "RESOURCE_NOT_FOUND") == (result["outcome"], result["code"])


async def test_a_cluster_in_use_is_not_deleted_but_by_force(native):
    cluster_id = await native.created()
    await native.shown(cluster_id)
    await native.api.report(cluster_id, conditions=available())
    assert "CLUSTER_NOT_DELETABLE" == (await native.send("delete", cluster_id))["code"]
    assert "applied" == (await native.send("delete", cluster_id, force=True))["outcome"]


async def test_preconditions_that_hold_let_through(native):
    cluster_id = await native.created()
    version = (await native.shown(cluster_id))["resource_version"]
    first = await native.send("update", cluster_id, spec=SPEC, expected_generation=1)
    assert "applied" == first["outcome"]
    assert (
        "GENERATION_CONFLICT"
        == (await native.send("update", cluster_id, spec=SPEC, expected_resource_version=version))["code"]
    )
    current = first["cluster"]["resource_version"]
    assert (
        "applied"
        == (await native.send("update", cluster_id, spec=SPEC, expected_resource_version=current))["outcome"]
    )


async def test_privileged_identities_may_command_everything(native):
    cluster_id = await native.created()
    assert "applied" == (await native.send("update", cluster_id, by=CONTROLLER, spec=SPEC))["outcome"]
    assert "applied" == (await native.send("reconcile", cluster_id, by=CONTROLLER))["outcome"]
    assert "applied" == (await native.send("delete", cluster_id, by=CONTROLLER))["outcome"]


# --- names --------------------------------------------------------------------------------------------


async def test_a_name_held_by_rest_is_taken_for_kafka_and_the_other_way_round(native):
    await native.api.created("rest-first")
    result = await native.send("create", str(uuid4()), name="rest-first", spec=SPEC)
    assert ("rejected", "CLUSTER_NAME_EXISTS") == (result["outcome"], result["code"])
    await native.created("kafka-first")
    check_error(await native.api.create("kafka-first"), 409, "CLUSTER_NAME_EXISTS")


async def test_an_id_that_is_taken_is_a_conflict_and_leaves_the_name_free(native):
    cluster_id = await native.created("holder")
    result = await native.send("create", cluster_id, name="second", spec=SPEC)
    assert ("rejected", "RESOURCE_CONFLICT") == (result["outcome"], result["code"])
    stranger = await native.send("create", cluster_id, by=an_owner(), name="third", spec=SPEC)
    assert "rejected" == stranger["outcome"]
    assert 201 == (await native.api.create("second")).status
    assert ("holder", native.email) == ((c := await native.shown(cluster_id))["name"], c["created_by"])


async def test_a_repeated_create_is_one_cluster(native, product):
    cluster_id = str(uuid4())
    body = command("create", cluster_id, native.email, name="again", spec=SPEC)
    await product.log(CREATES).publish_all([(f"{native.email}/again", body)] * 4)
    last = await native.send("create", str(uuid4()), name="again", spec=SPEC)
    assert "CLUSTER_NAME_EXISTS" == last["code"]
    outcomes = [r["outcome"] for r in await product.log("cluster-command-results").bodies(cluster_id)]
    assert ["applied", "duplicate", "duplicate", "duplicate"] == outcomes
    assert ["cluster.created"] == [e["type"] for e in await product.log("cluster-events").bodies(cluster_id)]


async def test_a_create_repeated_after_its_delete_does_not_take_the_name_again(native, product):
    cluster_id = str(uuid4())
    body = command("create", cluster_id, native.email, name="replayed", spec=SPEC)
    key = f"{native.email}/replayed"
    await product.log(CREATES).publish(key, body)
    await native.result(cluster_id, body["command_id"])
    await native.send("delete", cluster_id)
    await product.log(CREATES).publish(key, body)

    async def answered_twice():
        results = await product.log("cluster-command-results").bodies(cluster_id)
        return [r["outcome"] for r in results if r["command_id"] == body["command_id"]] == [
            "applied",
            "duplicate",
        ]

    await until(answered_twice, what="the second answer")
    assert 201 == (await native.api.create("replayed")).status


async def test_one_command_id_for_two_clusters_does_not_share_a_name(native, product):
    first, second = str(uuid4()), str(uuid4())
    body = command("create", first, native.email, name="shared", spec=SPEC)
    key = f"{native.email}/shared"
    await product.log(CREATES).publish_all([(key, body), (key, {**body, "cluster_id": second})])
    await native.result(second, body["command_id"])
    await native.shown(first)
    listed = (await native.api.list())["clusters"]
    assert [("shared", first)] == [(cluster["name"], cluster["id"]) for cluster in listed]


async def test_one_command_id_for_two_names_blocks_no_name(native, product):
    cluster_id = str(uuid4())
    body = command("create", cluster_id, native.email, name="first-name", spec=SPEC)
    await product.log(CREATES).publish(f"{native.email}/first-name", body)
    await native.result(cluster_id, body["command_id"])
    await product.log(CREATES).publish(f"{native.email}/second-name", {**body, "name": "second-name"})

    async def answered_twice():
        results = await product.log("cluster-command-results").bodies(cluster_id)
        return len([r for r in results if r["command_id"] == body["command_id"]]) == 2

    await until(answered_twice, what="the second answer")
    assert 201 == (await native.api.create("second-name")).status


# --- reports ------------------------------------------------------------------------------------------


async def test_a_report_over_kafka_is_a_report(native, product):
    cluster_id = await native.created()
    await product.log(REPORTS).publish(
        cluster_id, report(cluster_id, conditions=available(), metadata={"a": 1})
    )
    cluster = await native.shown(cluster_id, lambda c: c["status"]["phase"] == "Ready")
    assert "All 1 controllers are ready" == cluster["status"]["conditions"][0]["message"]
    (shown,) = (await native.api.get(f"{cluster_id}/status"))["controllers"]
    assert ("dns", {"a": 1}) == (shown["controller_name"], shown["metadata"])


async def test_stale_and_repeated_reports_change_nothing(native, product):
    cluster_id = await native.created()
    await native.send("update", cluster_id, spec=SPEC)
    again = report(cluster_id, observed_generation=2, report_id=str(uuid4()), metadata={"n": 1})
    reports = [
        again,
        report(cluster_id, observed_generation=1, metadata={"n": 2}),
        {**again, "metadata": {"n": 3}},
        report(cluster_id, controller_name="last"),
    ]
    await product.log(REPORTS).publish_all([(cluster_id, body) for body in reports])

    async def last_came():
        shown = (await native.api.get(f"{cluster_id}/status")).json["controllers"]
        return {c["controller_name"]: c["metadata"] for c in shown} if len(shown) == 2 else None

    assert {"dns": {"n": 1}, "last": {}} == await until(last_came, what="the last report")
    assert [] == [r for r in await product.log(f"{REPORTS}.dlq").read() if r.key == cluster_id.encode()]


# --- what nobody can handle ---------------------------------------------------------------------------


BAD_COMMANDS = {
    "no JSON": b"\xff\xfe{",
    "an array": [],
    "a command without id": {"command_id": ...},
    "a command id that is none": {"command_id": "abc"},
    "a cluster id that is none": {"cluster_id": "abc"},
    "no type": {"type": ...},
    "an unknown type": {"type": "cluster.explode"},
    "no identity": {"user_email": ...},
    "an identity that is none": {"user_email": "nobody"},
    "no time": {"issued_at": ...},
    "a time that is none": {"issued_at": "now"},
    "no spec": {"spec": ...},
    "a spec that is a string": {"spec": "x"},
    "an expectation as text": {"expected_generation": "1"},
    "an expected generation of 0": {"expected_generation": 0},
    "a spec over 512 KiB": {"spec": {**SPEC, "x": "y" * 600_000}},
    "NUL in the spec": {"spec": {**SPEC, "x": "\0"}},
    "bottomless": b'{"spec":' * 5000,
}


@pytest.mark.parametrize("bad", BAD_COMMANDS.values(), ids=BAD_COMMANDS.keys())
async def test_a_command_that_breaks_the_schema_is_parked(native, product, bad):
    cluster_id = await native.created()
    body = bad
    if isinstance(bad, dict):
        body = {
            k: v
            for k, v in {**command("update", cluster_id, native.email, spec=SPEC), **bad}.items()
            if v is not ...
        }
    place, offset = await product.log(COMMANDS).publish(cluster_id, body, headers={"mine": "kept"})
    letter, headers = await native.dead(COMMANDS, cluster_id)
    assert "invalid_schema" == headers["dlq_reason"]
    assert headers["dlq_error"]
    assert (product.log(COMMANDS).topic, str(place), str(offset)) == (
        headers["dlq_topic"],
        headers["dlq_partition"],
        headers["dlq_offset"],
    )
    assert letter.value == (body if isinstance(body, bytes) else json.dumps(body).encode())
    assert "applied" == (await native.send("update", cluster_id, spec=SPEC))["outcome"]


BAD_REPORTS = {
    "no JSON": b"{]",
    "a string": "report",
    "no controller": {"controller_name": ...},
    "an empty controller": {"controller_name": ""},
    "generation 0": {"observed_generation": 0},
    "65 conditions": {"conditions": available() * 65},
    "a condition status that is none": {"conditions": available("true")},
    "an empty error": {"last_error": {}},
    "metadata over 64 KiB": {"metadata": {"x": "y" * 70_000}},
    "a bad time": {"reported_at": "now"},
}


@pytest.mark.parametrize("bad", BAD_REPORTS.values(), ids=BAD_REPORTS.keys())
async def test_a_report_that_breaks_the_schema_is_parked(native, product, bad):
    cluster_id = await native.created()
    body = bad
    if isinstance(bad, dict):
        body = {k: v for k, v in {**report(cluster_id), **bad}.items() if v is not ...}
    await product.log(REPORTS).publish(cluster_id, body)
    _, headers = await native.dead(REPORTS, cluster_id)
    assert "invalid_schema" == headers["dlq_reason"]
    assert [] == (await native.api.get(f"{cluster_id}/status"))["controllers"]


async def test_reports_of_unknown_and_deleted_clusters_are_parked(native, product):
    deleted = await native.created()
    await native.send("delete", deleted)
    for cluster_id in (deleted, str(uuid4())):
        await product.log(REPORTS).publish(cluster_id, report(cluster_id))
        _, headers = await native.dead(REPORTS, cluster_id)
        assert "unknown_cluster" == headers["dlq_reason"]


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(lambda cluster_id: None, id="no key"),
        pytest.param(lambda cluster_id: b"", id="an empty key"),
        pytest.param(lambda cluster_id: str(uuid4()), id="another cluster's id"),
        pytest.param(lambda cluster_id: cluster_id.upper(), id="upper case"),
        pytest.param(lambda cluster_id: f'"{cluster_id}"', id="quoted"),
        pytest.param(lambda cluster_id: b"\xff\xfe" + cluster_id.encode(), id="no text"),
    ],
)
@pytest.mark.parametrize("topic", [COMMANDS, REPORTS])
async def test_a_key_that_is_not_the_cluster_s_id_is_parked(native, product, topic, key):
    cluster_id = await native.created()
    bodies = {COMMANDS: command("update", cluster_id, native.email, spec=SPEC), REPORTS: report(cluster_id)}
    wrong = key(cluster_id)
    await product.log(topic).publish(wrong, bodies[topic])
    _, headers = await native.dead(topic, wrong, value=json.dumps(bodies[topic]).encode())
    assert "bad_key" == headers["dlq_reason"]
    assert 1 == (await native.shown(cluster_id))["generation"]
    assert [] == (await native.api.get(f"{cluster_id}/status"))["controllers"]


async def test_a_create_under_another_key_than_its_name_is_parked(native, product):
    body = command("create", str(uuid4()), native.email, name="honest", spec=SPEC)
    await product.log(CREATES).publish(f"{native.email}/other", body)
    _, headers = await native.dead(CREATES, f"{native.email}/other")
    assert "bad_key" == headers["dlq_reason"]
    assert 201 == (await native.api.create("honest")).status


async def test_creates_and_other_commands_have_their_topics(native, product):
    stray = str(uuid4())
    await product.log(COMMANDS).publish(
        stray, command("create", stray, native.email, name="stray", spec=SPEC)
    )
    _, headers = await native.dead(COMMANDS, stray)
    assert "wrong_topic" == headers["dlq_reason"]
    assert 0 == (await native.api.list())["total"]
    await product.log(CREATES).publish(f"{native.email}/x", command("update", stray, native.email, spec=SPEC))
    _, headers = await native.dead(CREATES, f"{native.email}/x")
    assert headers["dlq_reason"] in ("wrong_topic", "invalid_schema")


@pytest.mark.parametrize("topic", [COMMANDS, REPORTS, CREATES, "reconcile-ticks"])
async def test_a_record_without_value_is_parked(native, product, topic):
    key = str(uuid4())
    partition = 0 if topic == "reconcile-ticks" else None
    await product.log(topic).publish(key, None, partition=partition)
    letter, headers = await native.dead(topic, key)
    assert (None, "null_value") == (letter.value, headers["dlq_reason"])


async def test_misplaced_records_find_their_place(native, product):
    cluster_id = await native.created("placed")
    home = product.log(COMMANDS).place_of(cluster_id)
    elsewhere = (home + 1) % product.kafka.partitions
    update = command("update", cluster_id, native.email, spec=SPEC)
    await product.log(COMMANDS).publish(
        cluster_id, update, partition=elsewhere, headers={"request_id": "r-1"}
    )
    assert "applied" == (await native.result(cluster_id, update["command_id"]))["outcome"]
    await product.log(REPORTS).publish(
        cluster_id, report(cluster_id, observed_generation=2, conditions=available()), partition=elsewhere
    )
    cluster = await native.shown(cluster_id, lambda c: c["status"]["phase"] == "Ready")
    assert 2 == cluster["generation"]
    event = await product.log("cluster-events").wait_for(cluster_id, lambda b: b["type"] == "cluster.updated")
    assert "r-1" == event["metadata"]["request_id"]
    name = f"{native.email}/moved"
    moved = command("create", str(uuid4()), native.email, name="moved", spec=SPEC)
    place = (product.log(CREATES).place_of(name) + 1) % product.kafka.partitions
    await product.log(CREATES).publish(name, moved, partition=place)
    assert "applied" == (await native.result(moved["cluster_id"], moved["command_id"]))["outcome"]
    check_error(await native.api.create("moved"), 409, "CLUSTER_NAME_EXISTS")


async def test_headers_of_any_kind_do_no_harm(native, product):
    cluster_id = await native.created()
    update = command("update", cluster_id, native.email, spec=SPEC)
    odd = {"request_id": b"\xff\xfe", "triggered_by": b"", "x": b"", "answer": b"true"}
    await product.log(COMMANDS).publish(cluster_id, update, headers=odd)
    assert "applied" == (await native.result(cluster_id, update["command_id"]))["outcome"]
    await product.log(REPORTS).publish(cluster_id, report(cluster_id, observed_generation=2), headers=odd)
    await native.shown(cluster_id, lambda c: c["status"]["phase"] == "Progressing")


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_every_compression_is_read(native, product, codec):
    cluster_id = await native.created()
    update = command("update", cluster_id, native.email, spec=SPEC)
    await product.log(COMMANDS).publish_all([(cluster_id, update)], compression_type=codec)
    assert "applied" == (await native.result(cluster_id, update["command_id"]))["outcome"]


async def test_upper_case_ids_in_a_body_are_the_same_ids(native, product):
    cluster_id = await native.created()
    update = command("update", cluster_id.upper(), native.email, spec=SPEC)
    update["command_id"] = update["command_id"].upper()
    await product.log(COMMANDS).publish(cluster_id, update)
    await native.result(cluster_id, update["command_id"].lower())


@pytest.fixture
async def alone(servers):
    """A deployment of its own, for what might stop a partition for good."""
    async with Deployment(await servers.new_topics(partitions=2)) as deployment:
        await deployment.worker()
        yield Native(await deployment.web(an_owner()), deployment)


async def test_huge_refusals_do_not_fill_a_record(alone):
    """64 outcomes are remembered with the cluster; what they quote must not make it too large to store."""
    cluster_id = await alone.created()
    huge = {"platform": {"type": "x" * 500_000}}
    bodies = [command("update", cluster_id, alone.email, spec=huge) for _ in range(24)]
    await alone.product.log(COMMANDS).publish_all([(cluster_id, body) for body in bodies])
    assert "applied" == (await alone.send("update", cluster_id, spec=SPEC))["outcome"]


@pytest.mark.parametrize("topic", [COMMANDS, REPORTS, CREATES])
async def test_a_bad_record_as_large_as_its_topic_takes_is_parked_too(alone, topic):
    """A dead letter carries more headers than the record had, so it is larger than what was just allowed."""
    cluster_id = await alone.created()
    await alone.product.log(topic).publish(cluster_id, b"{" + b" " * (MAX_INPUT_BYTES - 200))
    assert "applied" == (await alone.send("update", cluster_id, spec=SPEC))["outcome"]
    _, headers = await alone.dead(topic, cluster_id)
    assert "invalid_schema" == headers["dlq_reason"]


async def test_a_record_that_unpacks_to_more_than_any_topic_takes_is_parked_cut(alone):
    cluster_id = await alone.created()
    commands = alone.product.log(COMMANDS)
    await commands.publish_all([(cluster_id, b"{" + b" " * 20_000_000)], compression_type="gzip")
    assert "applied" == (await alone.send("update", cluster_id, spec=SPEC))["outcome"]
    letter, headers = await alone.dead(COMMANDS, cluster_id)
    assert "too_large" == headers["dlq_reason"]
    assert "20000001 bytes" in headers["dlq_cut_from"]
    assert MAX_INPUT_BYTES == len(letter.value)


async def test_a_misplaced_record_of_the_bound_once_unpacked_is_parked_where_it_is(alone):
    """It came compressed; published again as it is, its topic would not take it."""
    cluster_id = await alone.created()
    commands = alone.product.log(COMMANDS)
    place = {"partition": 1 - commands.place_of(cluster_id), "compression_type": "gzip"}
    await commands.publish_all([(cluster_id, b" " * (MAX_INPUT_BYTES - len(cluster_id)))], **place)
    update = command("update", cluster_id, alone.email, spec=SPEC)
    await commands.publish_all([(cluster_id, update)], **place)
    assert "applied" == (await alone.result(cluster_id, update["command_id"]))["outcome"]
    _, headers = await alone.dead(COMMANDS, cluster_id)
    assert "too_large" == headers["dlq_reason"]


@pytest.mark.parametrize("beyond", [18_000_000, 0], ids=["more than any topic takes", "just what comes in"])
async def test_a_create_whose_headers_leave_no_room_is_parked_and_its_name_stays_free(alone, beyond):
    body = json.dumps(command("create", str(uuid4()), alone.email, name="laden", spec=SPEC)).encode()
    key, room = f"{alone.email}/laden", MAX_INPUT_BYTES + beyond
    size = room - batch_bytes(key.encode(), body, [("x", b"x" * 1_000_000)]) + 1_000_000
    await alone.product.log(CREATES).publish_all(
        [(key, body)], headers={"x": b"x" * size}, compression_type="gzip"
    )
    _, headers = await alone.dead(CREATES, key)
    assert "too_large" == headers["dlq_reason"]
    await alone.created("laden")


async def test_a_thousand_records_with_every_tenth_bad(native, product):
    cluster_id = await native.created()
    updates = [command("update", cluster_id, native.email, spec=SPEC) for _ in range(900)]
    records = [(cluster_id, body) for body in updates]
    for place in range(0, 1000, 10):
        records.insert(place, (cluster_id, b"{broken"))
    await product.log(COMMANDS).publish_all(records)
    await native.result(cluster_id, updates[-1]["command_id"])
    assert 901 == (await native.shown(cluster_id, lambda c: c["generation"] == 901))["generation"]
    letters = [r for r in await product.log(f"{COMMANDS}.dlq").read() if r.key == cluster_id.encode()]
    assert 100 == len(letters)
    events = await product.log("cluster-events").bodies(cluster_id)
    assert list(range(1, 902)) == [event["generation"] for event in events]
    assert 901 == len({event["id"] for event in events})


async def test_rest_and_kafka_clients_at_once_leave_no_gap(native, product):
    cluster_id = await native.created()
    await native.shown(cluster_id)
    updates = [command("update", cluster_id, native.email, spec=SPEC) for _ in range(40)]
    await asyncio.gather(
        product.log(COMMANDS).publish_all([(cluster_id, body) for body in updates]),
        *(native.api.update(cluster_id) for _ in range(20)),
    )
    await native.result(cluster_id, updates[-1]["command_id"])
    events = await product.log("cluster-events").bodies(cluster_id)
    assert list(range(1, 62)) == [event["generation"] for event in events]
