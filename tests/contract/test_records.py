"""What crosses the topics on behalf of REST, and what a write may ask for before it is applied."""

import asyncio
import json
from contextlib import asynccontextmanager
from time import monotonic

import pytest
from prometheus_client import REGISTRY

from database import DatabaseSettings
from tests.conftest import until
from tests.e2e.product import CONTROLLER, SPEC, an_owner, available, command, free_port, headers_of, report
from tests.web.answers import check, check_error

CLUSTERS = "/api/v1/clusters"
MINE = {"X-Request-ID": "mine-1"}


async def test_what_rest_writes_carries_its_request_and_its_type(api, product):
    """Section 10.3: `request_id` and `content_type` on commands and reports; the body is authoritative."""
    body = {"name": "carried", "spec": SPEC}
    cluster = (await api.request("POST", "/api/v1/clusters", body, headers=MINE)).json
    await api.request("PUT", cluster["id"], {"spec": SPEC}, headers=MINE)
    report = {"controller_name": "dns", "observed_generation": 1}
    await api.as_(CONTROLLER).request("PUT", f"{cluster['id']}/status", report, headers=MINE)
    keys = {
        "cluster-name-requests": f"{api.email}/carried",
        "cluster-accepted-commands": cluster["id"],
        "cluster-status-reports": cluster["id"],
    }
    for topic, key in keys.items():
        (record,) = await product.log(topic).of(key)
        headers = headers_of(record)
        assert ("mine-1", "application/json") == (headers["request_id"], headers["content_type"]), topic
        assert cluster["id"] == json.loads(record.value)["cluster_id"]
        assert product.log(topic).place_of(key) == record.partition


async def test_a_result_says_what_became_of_its_command(api, product):
    """Section 10.1: `{command_id, outcome, code, error, details, cluster}`, keyed by the cluster."""
    first = {**MINE, "Idempotency-Key": "first"}
    body = {"name": "told", "spec": SPEC}
    cluster = (await api.request("POST", "/api/v1/clusters", body, headers=first)).json
    await api.request("POST", "/api/v1/clusters", body, headers=first)
    await api.update(cluster["id"], if_match='"old"')
    # what was applied by REST is answered by its state, what came again or was refused by results
    created, *_ = await product.log("cluster-state").of(cluster["id"])
    repeated, refused = await product.log("cluster-command-results").bodies(cluster["id"])
    assert repeated["command_id"] == headers_of(created)["answers"]
    assert ("duplicate", cluster) == (repeated["outcome"], repeated["cluster"])
    assert ("rejected", "GENERATION_CONFLICT") == (refused["outcome"], refused["code"])
    assert refused["error"]
    assert {"generation": 1, "resource_version": cluster["resource_version"]} == refused["details"]
    assert "cluster" not in refused


def counted(result):
    return REGISTRY.get_sample_value("clusterflow_status_reports_total", {"result": result}) or 0.0


async def test_a_report_from_the_future_is_warned_of_and_counted(api, caplog):
    cluster = await api.created()
    before = counted("future")
    with caplog.at_level("WARNING", logger="clusterflow"):
        await api.report(cluster["id"], observed_generation=9)
    assert before + 1 == counted("future")
    (warning,) = [r for r in caplog.records if getattr(r, "cluster_id", None) == cluster["id"]]
    assert ("WARNING", 1, 9) == (warning.levelname, warning.generation, warning.observed_generation)


async def test_a_65th_controller_is_turned_away_and_the_others_go_on(api, product):
    cluster = await api.created()
    names = [f"c{n:02}" for n in range(64)]
    reports = product.log("cluster-status-reports")
    await reports.publish_all([(cluster["id"], report(cluster["id"], controller_name=n)) for n in names])

    async def all_listed():
        return len((await api.get(f"{cluster['id']}/status"))["controllers"]) == 64

    await until(all_listed, what="64 reports")
    check_error(await api.report(cluster["id"], controller_name="one more"), 413, "PAYLOAD_TOO_LARGE")
    assert (await api.report(cluster["id"], controller_name="c63", conditions=available()))["applied"]
    await reports.publish(cluster["id"], late := report(cluster["id"], controller_name="one more"))
    letters = product.log("cluster-status-reports.dlq")
    assert late == await letters.wait_for(cluster["id"])
    (letter,) = await letters.of(cluster["id"])
    assert "too_many_controllers" == headers_of(letter)["dlq_reason"]


# --- preconditions of a delete (section 4 knows no write without them) --------------------------------


async def test_a_delete_of_an_older_version_is_refused(api):
    cluster = await api.created()
    current = (await api.update(cluster["id"])).json
    old = {"If-Match": f'"{cluster["resource_version"]}"'}
    answer = await api.request("DELETE", cluster["id"], headers=old)
    check_error(
        answer, 409, "GENERATION_CONFLICT", generation=2, resource_version=current["resource_version"]
    )
    assert current == (await api.get(cluster["id"])).json


async def test_a_delete_of_the_current_version_passes(api):
    cluster = await api.created()
    current = {"If-Match": f'"{cluster["resource_version"]}"'}
    check(await api.request("DELETE", cluster["id"], headers=current), 202)


@pytest.mark.parametrize("expected", [{"expected_generation": 7}, {"expected_resource_version": "old"}])
async def test_a_delete_over_kafka_keeps_its_expectation(api, product, expected):
    cluster = await api.created()
    body = command("delete", cluster["id"], api.email, **expected)
    await product.log("cluster-commands").publish(cluster["id"], body)
    results = product.log("cluster-command-results")
    result = await results.wait_for(cluster["id"], lambda r: r["command_id"] == body["command_id"])
    assert ("rejected", "GENERATION_CONFLICT") == (result["outcome"], result["code"])


# --- health ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def silent_server():
    """A port that accepts and never says a word; yields it and the connections so far."""
    connections = []

    async def accept(reader, writer):
        connections.append(writer)
        await reader.read()
        writer.close()

    port = free_port()
    async with await asyncio.start_server(accept, "127.0.0.1", port):
        yield port, connections


async def test_a_database_that_hangs_is_asked_for_5_s_at_most_and_not_by_every_caller(product):
    """Section 2.4: checks are bounded by 5 s and kept for up to 5 s; the database only degrades."""
    async with silent_server() as (port, connections):
        url = f"postgresql://u:p@127.0.0.1:{port}/x"
        client = await product.web(database=DatabaseSettings(url=url))
        started = monotonic()
        answer = check(await client.get("/health"), 200)
        assert monotonic() - started < 8
        assert "degraded" == answer["status"]
        asked = len(connections)
        started = monotonic()
        for _ in range(20):
            check(await client.get("/health"), 200)
        assert monotonic() - started < 2
        assert asked == len(connections)


async def test_a_cluster_reads_alike_everywhere(api):
    """Create, update, get and list answer one document, with the status of its generation in it."""
    created = await api.created(spec={**SPEC, "kept": {"as": ["sent", 1.0, None]}})
    assert created == (await api.get(created["id"])).json == (await api.list())["clusters"][0]
    updated = (await api.update(created["id"])).json
    assert updated == (await api.get(created["id"])).json == (await api.list())["clusters"][0]
    await api.report(created["id"], observed_generation=2, conditions=available())
    read = (await api.get(created["id"])).json
    assert read["status"] == (await api.get(f"{created['id']}/status"))["status"]
    assert read["updated_at"] == updated["updated_at"]


# --- keys of repeats ----------------------------------------------------------------------------------


async def test_a_key_does_not_change_the_order_of_checks(api):
    """Section 2.3: existence comes before meaning, whether or not a request may be repeated."""
    cluster = await api.as_(an_owner()).created()
    body = {"spec": {"platform": {"type": "nowhere"}}}
    for key in ({}, {"Idempotency-Key": "k"}):
        answer = await api.request("PUT", cluster["id"], body, headers=key)
        check_error(answer, 404, "RESOURCE_NOT_FOUND")


async def test_two_callers_never_share_a_key(api):
    """Section 2.4: a key is its caller's; an address may hold a slash."""
    other = api.as_(f"{api.email}/create")
    first = await api.request(
        "POST", CLUSTERS, {"name": "one", "spec": SPEC}, headers={"Idempotency-Key": "create/k"}
    )
    second = await other.request(
        "POST", CLUSTERS, {"name": "two", "spec": SPEC}, headers={"Idempotency-Key": "k"}
    )
    assert (201, api.email) == (first.status, first["created_by"])
    assert (201, other.email) == (second.status, second["created_by"])
