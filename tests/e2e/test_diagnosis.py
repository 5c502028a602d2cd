"""Diagnoses over REST and by jobs (operations contract, section 6)."""

import json
from itertools import count
from typing import Any

import pytest

from domain.policy import Policy
from tests.conftest import until
from tests.e2e.product import Answer, Client, Deployment, an_owner, available

PATH, MOUNT = "/api/v1/diagnosis/diagnose", "/genie/api/v1"
ABSENT = "4fe1157b-ebd4-4ece-9f79-dd52c6504f4e"
_clusters = count(1)


@pytest.fixture(scope="module")
async def place(servers):
    async with Deployment(await servers.new_topics(), policy=Policy()) as deployment:
        await deployment.worker()
        await deployment.executor(kinds=("job",))
        yield deployment


@pytest.fixture(scope="module")
async def client(place):
    return await place.web(an_owner())


async def a_cluster(client: Client, region: str = "lon1") -> str:
    spec = {"platform": {"type": "gcp"}, "region": region}
    id: str = (await client.created(f"cluster-{next(_clusters)}", spec))["id"]
    return id


async def diagnose(client: Client, body: Any, path: str = PATH) -> Answer:
    return await client.request("POST", path, body)


async def job(client: Client, **body: Any) -> dict[str, Any]:
    """A job of type `diagnose` at its end."""
    made = (await client.request("POST", "/api/v1/jobs", {"type": "diagnose", **body}))["job"]

    async def found() -> dict[str, Any] | None:
        job: dict[str, Any] = (await client.request("GET", f"/api/v1/jobs/{made['id']}"))["job"]
        return job if job["status"] in ("completed", "failed") else None

    return await until(found, within=30, what="the end of a job")


@pytest.mark.parametrize("path", [PATH, f"{MOUNT}/diagnosis/diagnose"])
async def test_a_cluster_is_diagnosed(client, place, path):
    # given
    cluster = await a_cluster(client)
    before = (await client.request("GET", f"{MOUNT}/clusters/{cluster}"))["cluster"]
    # when
    answer = await diagnose(client, {"cluster_id": cluster}, path)
    # then it is told what there is to say
    assert (200, ["cluster", "insights", "recommendations"]) == (answer.status, list(answer.json))
    assert "0 droplets" in answer["insights"][0]
    assert "lon1" in answer["insights"][1]
    assert ["Add droplets for redundancy", "Create the first droplet"] == answer["recommendations"]
    # and when it was looked at
    shown = answer["cluster"]
    assert {**before, "last_checked": shown["last_checked"]} == shown
    assert shown["last_checked"] > before["last_checked"]
    assert shown == (await client.request("GET", f"{MOUNT}/clusters/{cluster}"))["cluster"]
    # and told of
    event = await place.log("cluster-events").wait_for(
        cluster, lambda body: body["type"] == "diagnosis.completed"
    )
    assert (cluster, answer["recommendations"]) == (event["cluster_id"], event["payload"]["recommendations"])


async def test_what_an_operator_has_said_and_a_controller_reports_counts(client):
    # given
    cluster = await a_cluster(client)
    await client.request("PUT", f"{MOUNT}/clusters/{cluster}", {"status": "critical"})
    reported = await client.report(cluster, conditions=available("False"))
    assert 200 == reported.status
    # when
    found = (await diagnose(client, {"cluster_id": cluster})).json
    # then
    assert "critical" == found["cluster"]["status"]
    assert "Controller dns: Available is False" == found["insights"][-1]
    assert "Scale the cluster at once" in found["recommendations"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"cluster_id": ""}, 400),
        ({"cluster_id": 7}, 400),
        ([], 400),
        ({"cluster_id": ABSENT}, 404),
        ({"cluster_id": "no id / at all"}, 404),
    ],
)
async def test_what_cannot_be_diagnosed_is_refused(client, body, status):
    answer = await diagnose(client, body)
    assert status == answer.status
    if status == 404:
        assert "cluster not found" == answer["error"]


async def test_jobs_diagnose_one_cluster_or_all(client):
    cluster = await a_cluster(client)
    one, every = await job(client, cluster_id=cluster), await job(client)
    lost = await job(client, cluster_id=ABSENT)
    assert ["Add droplets for redundancy", "Create the first droplet"] == json.loads(one["result"])[
        "recommendations"
    ]
    result = json.loads(every["result"])
    assert ("completed", result["clusters"]) == (every["status"], sum(result["statuses"].values()))
    assert result["clusters"] >= 1
    assert ("failed", "cluster not found") == (lost["status"], lost["error"])
