"""Contract section 5: envelope, headers, keys and identities of what is told to everyone."""

import json
from uuid import uuid4

from tests.e2e.product import CONTROLLER, SPEC, Deployment, available, command, headers_of
from tests.web.answers import TIME

SNAPSHOT = {
    *("id", "name", "spec", "created_by", "target_project_id", "generation", "resource_version"),
    *("created_at", "updated_at"),
}


async def lifecycle(api, product):
    """The three lifecycle events of one cluster, and the answers they belong to."""
    created = (await api.create("told", {"platform": {"type": "GCP"}, "a": 1}, target_project_id="p")).json
    headers = {"X-Request-ID": f"update-{uuid4()}"}
    body = {"spec": {"platform": {"type": "Aws"}, "b": 2}}
    updated = (await api.request("PUT", created["id"], body, headers=headers)).json
    await api.as_(CONTROLLER).delete(created["id"], force=True)
    records = await product.log("cluster-events").of(created["id"])
    return (
        created,
        updated,
        headers["X-Request-ID"],
        records,
        await product.log("cluster-events").bodies(created["id"]),
    )


async def test_lifecycle_events_carry_the_whole_envelope(api, product):
    created, updated, request_id, _, events = await lifecycle(api, product)
    assert ["cluster.created", "cluster.updated", "cluster.deleted"] == [event["type"] for event in events]
    assert [1, 2, 2] == [event["generation"] for event in events]
    for event in events:
        assert "clusterflow" == event["source"]
        assert created["id"] == event["cluster_id"] == event["cluster"]["id"]
        assert SNAPSHOT == event["cluster"].keys()
        assert TIME.fullmatch(event["timestamp"])
        assert "reason" not in event
    assert [{m: answer[m] for m in SNAPSHOT} for answer in (created, updated)] == [
        event["cluster"] for event in events[:2]
    ]
    assert events[0]["cluster"]["created_at"] == events[0]["timestamp"]
    assert events[2]["cluster"]["spec"] == updated["spec"]
    assert events[1]["metadata"] == {
        "triggered_by": "api_request",
        "user_email": api.email,
        "user_domain": "example.com",
        "request_id": request_id,
    }
    assert (True, CONTROLLER) == (events[2]["metadata"]["force_delete"], events[2]["metadata"]["user_email"])
    assert ["force_delete" in event["metadata"] for event in events] == [False, False, True]


async def test_updates_tell_what_changed(api, product):
    _, _, _, _, events = await lifecycle(api, product)
    assert {
        "spec.platform.type": {"from": "GCP", "to": "Aws"},
        "spec.a": {"from": 1, "to": None},
        "spec.b": {"from": None, "to": 2},
    } == events[1]["changes"]
    assert ["changes" in event for event in events] == [False, True, False]


async def test_headers_say_what_filters_need(api, product):
    created, _, request_id, records, events = await lifecycle(api, product)
    for record, event in zip(records, events, strict=True):
        headers = headers_of(record)
        assert {
            "event_type": event["type"],
            "cluster_id": created["id"],
            "generation": str(event["generation"]),
            "source": "clusterflow",
            "timestamp": event["timestamp"],
            "event_id": event["id"],
        }.items() <= headers.items()
        assert event["metadata"]["request_id"] == headers["request_id"]
        assert created["id"].encode() == record.key
        assert product.log("cluster-events").place_of(created["id"]) == record.partition
    assert ["gcp", "aws", "aws"] == [headers_of(record)["platform"] for record in records]
    assert request_id == headers_of(records[1])["request_id"]


async def test_events_have_identities_of_their_own(api, product):
    _, _, _, _, events = await lifecycle(api, product)
    assert 3 == len({event["id"] for event in events})


async def test_refusals_reports_and_reads_tell_nothing(api, product):
    cluster = await api.created()
    await api.update(cluster["id"], {})
    await api.update(cluster["id"], resource_version="old")
    await api.report(cluster["id"], conditions=available())
    await api.delete(cluster["id"])
    await api.get(cluster["id"])
    events = await product.log("cluster-events").bodies(cluster["id"])
    assert ["cluster.created"] == [event["type"] for event in events]


async def test_a_repeated_command_repeats_no_event(api, product):
    cluster = await api.created()
    commands, results = product.log("cluster-commands"), product.log("cluster-command-results")
    update = command("update", cluster["id"], api.email, spec=SPEC)
    await commands.publish_all([(cluster["id"], update)] * 5)
    await commands.publish(cluster["id"], last := command("update", cluster["id"], api.email, spec=SPEC))
    await results.wait_for(cluster["id"], lambda body: body["command_id"] == last["command_id"])
    outcomes = [
        b["outcome"] for b in await results.bodies(cluster["id"]) if b["command_id"] == update["command_id"]
    ]
    assert ["applied"] + ["duplicate"] * 4 == outcomes
    events = await product.log("cluster-events").bodies(cluster["id"])
    assert [("cluster.created", 1), ("cluster.updated", 2), ("cluster.updated", 3)] == [
        (event["type"], event["generation"]) for event in events
    ]


async def test_a_manual_reconcile_is_told_with_its_reason(api, product):
    cluster = await api.created()
    await api.update(cluster["id"])
    await product.log("cluster-commands").publish(
        cluster["id"], command("reconcile", cluster["id"], api.email), headers={"request_id": "r"}
    )
    events = product.log("cluster-events")
    event = await events.wait_for(cluster["id"], lambda body: body["type"] == "cluster.reconcile")
    assert ("manual_trigger", 2, "clusterflow") == (event["reason"], event["generation"], event["source"])
    assert {"scheduled_by": "manual_trigger", "trigger_type": "immediate"}.items() <= event[
        "metadata"
    ].items()
    assert SNAPSHOT == event["cluster"].keys()
    headers = headers_of((await events.of(cluster["id"]))[-1])
    assert ("cluster.reconcile", "manual_trigger", event["id"]) == (
        headers["event_type"],
        headers["reason"],
        headers["event_id"],
    )


async def test_events_name_the_service_as_it_is_set(servers):
    async with Deployment(await servers.new_topics()) as deployment:
        await deployment.worker(service_name="cls-backend")
        api = await deployment.web("owner@example.com")
        cluster = await api.created()
        await deployment.log("cluster-commands").publish(
            cluster["id"], command("reconcile", cluster["id"], api.email)
        )
        events = deployment.log("cluster-events")
        await events.wait_for(cluster["id"], lambda body: body["type"] == "cluster.reconcile")
        sources = [
            (json.loads(record.value)["source"], headers_of(record)["source"])
            for record in await events.of(cluster["id"])
        ]
    assert [("cls-backend", "cls-backend")] * 2 == sources
