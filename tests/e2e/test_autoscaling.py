"""Policies of scaling, and what they lead to (operations contract, sections 1.5, 2, 7 and 17)."""

import json
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from domain.policy import Policy
from tests.conftest import until
from tests.e2e.product import Answer, Client, Deployment, an_owner

POLICIES, EVALUATE = "/api/v1/autoscaling/policies", "/api/v1/autoscaling/evaluate"
MOUNT = "/genie"
ABSENT = "4fe1157b-ebd4-4ece-9f79-dd52c6504f4e"
SPEC = {"platform": {"type": "gcp"}, "region": "lon1"}
MEMBERS = [
    "id", "name", "cluster_id", "type", "enabled", "min_replicas", "max_replicas", "metric_type",
    "metric_trigger", "time_window", "cost_limit", "created_at", "updated_at",
]  # fmt: skip
_clusters = count(1)

BY_HAND = Policy(
    droplet_provisioning=timedelta(milliseconds=50),
    autoscale_interval=timedelta(0),
    autoscale_cooldown=timedelta(0),
)


@pytest.fixture(scope="module")
async def place(servers):
    """A deployment whose policies are evaluated when somebody asks, or a threshold is crossed."""
    async with Deployment(await servers.new_topics(), policy=BY_HAND) as deployment:
        await deployment.worker()
        await deployment.executor(kinds=("job",))
        yield deployment


@pytest.fixture(scope="module")
async def client(place):
    return await place.web(an_owner())


async def a_cluster(client: Client) -> str:
    id: str = (await client.created(f"cluster-{next(_clusters)}", SPEC))["id"]
    return id


async def post(client: Client, cluster: str, prefix: str = "", **members: Any) -> Answer:
    """A policy by the load of the processors, unless these say otherwise."""
    given = {"name": "p", "type": "metrics", "metric_type": "cpu", "metric_trigger": 0.8}
    return await client.request("POST", prefix + POLICIES, {**given, "cluster_id": cluster, **members})


async def made(client: Client, cluster: str, **members: Any) -> str:
    answer = await post(client, cluster, **members)
    assert answer.status == 201, answer
    id: str = answer["id"]
    return id


async def measured(client: Client, cluster: str, cpu: float) -> None:
    """Have this be the newest sample that the process knows."""
    body = {"cluster_id": cluster, "metrics": [{"type": "cpu", "value": cpu}]}
    assert 202 == (await client.request("POST", "/api/v1/metrics", body)).status

    async def known() -> bool:
        said = (await client.request("GET", f"/api/v1/health/{cluster}"))["issues"]
        return bool(said[0].startswith(f"cpu is {cpu:g} ")) if cpu > 80 else said == []

    await until(known, within=10, what="the sample")


async def evaluate(client: Client, cluster: str, prefix: str = "") -> Answer:
    return await client.request("POST", f"{prefix}{EVALUATE}?cluster_id={cluster}")


async def droplets(client: Client, cluster: str, number: int) -> list[dict[str, Any]]:
    """The droplets of a cluster once there are so many, all active."""

    async def found() -> list[dict[str, Any]] | None:
        path = f"/api/v1/droplets?cluster_id={cluster}"
        all_: list[dict[str, Any]] = (await client.request("GET", path))["droplets"]
        return all_ if [each["status"] for each in all_] == ["active"] * number else None

    return await until(found, within=20, what=f"{number} active droplets") if number else []


async def counted(client: Client, cluster: str, wanted: str) -> Answer:
    """An evaluation that leads to this; the autoscaler knows a change of droplets a moment later."""

    async def found() -> Answer | None:
        answer = await evaluate(client, cluster)
        return answer if wanted in json.dumps(answer["decisions"]) else None

    return await until(found, within=10, what=wanted)


# --- policies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", MOUNT])
async def test_a_policy_is_made_shown_changed_and_deleted(client, prefix):
    # given
    cluster = await a_cluster(client)
    # when
    answer = await post(client, cluster, prefix, name="by load", max_replicas=5)
    # then it is not wrapped, and has all members
    policy = answer.json
    assert (201, MEMBERS) == (answer.status, list(policy))
    assert policy["id"].startswith("policy-")
    assert (True, 1, 5, "", 0) == tuple(
        policy[name] for name in ("enabled", "min_replicas", "max_replicas", "time_window", "cost_limit")
    )
    one = f"{prefix}{POLICIES}/{policy['id']}"
    assert policy == (await client.request("GET", one)).json
    assert {"items": [policy]} == (
        await client.request("GET", f"{prefix}{POLICIES}?cluster_id={cluster}")
    ).json
    # when it is changed in part, also to nothing, and its cluster is named
    changed = await client.request("PUT", one, {"enabled": False, "min_replicas": 0, "cluster_id": ABSENT})
    # then
    assert (200, False, 0, 5, cluster) == (
        changed.status,
        changed["enabled"],
        changed["min_replicas"],
        changed["max_replicas"],
        changed["cluster_id"],
    )
    # when
    gone = await client.request("DELETE", one)
    # then
    assert (200, {"ok": True, "deleted": policy["id"]}) == (gone.status, gone.json)
    for method, body in (("GET", None), ("PUT", {"enabled": True}), ("DELETE", None)):
        assert 404 == (await client.request(method, one, body)).status
    assert {"items": []} == (await client.request("GET", f"{POLICIES}?cluster_id={cluster}")).json


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"type": "load"}, "type"),
        ({"type": None}, "type"),
        ({"min_replicas": -1}, "min_replicas"),
        ({"min_replicas": 4}, "min_replicas"),
        ({"max_replicas": 1001}, "max_replicas"),
        ({"metric_type": ""}, "metric_type"),
        ({"metric_trigger": 80}, "metric_trigger"),
        ({"type": "time_of_day"}, "time_window"),
        ({"type": "cost"}, "cost_limit"),
        ({"cluster_id": ""}, "cluster_id"),
        ({"cluster_id": ABSENT}, "cluster_id"),
        ({"enabled": "yes"}, "enabled"),
    ],
)
async def test_what_cannot_be_followed_is_refused(client, members, field):
    cluster = await a_cluster(client)
    answer = await post(client, **{"cluster": cluster, **members})
    assert (400, field) == (answer.status, answer["details"]["field"])


async def test_a_change_that_cannot_be_followed_is_refused(client):
    id = await made(client, await a_cluster(client))
    answer = await client.request("PUT", f"{POLICIES}/{id}", {"min_replicas": 9})
    assert (400, "min_replicas") == (answer.status, answer["details"]["field"])


async def test_lists_are_of_a_cluster(client):
    assert 400 == (await client.request("GET", POLICIES)).status
    assert {"items": []} == (await client.request("GET", f"{POLICIES}?cluster_id={ABSENT}")).json


async def test_the_policies_of_a_cluster_go_with_it(client):
    # given
    cluster = await a_cluster(client)
    id = await made(client, cluster)
    await counted(client, cluster, "at least 1")
    # when
    await client.delete(cluster, force=True)

    async def gone() -> bool:
        return (await client.request("GET", f"{POLICIES}/{id}")).status == 404

    # then
    await until(gone, within=20, what="a policy that is gone")


async def test_policies_come_by_kafka_and_go_where_there_is_no_cluster(client, place):
    command = {
        "type": "scaling.create", "id": "policy-k", "command_id": "k", "name": "k", "cluster_id": ABSENT,
        "policy_type": "cost", "cost_limit": 5,
    }  # fmt: skip
    await place.log("scaling.commands").publish("policy-k", command)
    states = place.log("scaling-state")
    assert "k" == (await states.wait_for("policy-k"))["policy"]["name"]
    await states.wait_for("policy-k", lambda body: body["deleted_at"] is not None)


# --- what they lead to --------------------------------------------------------------------------------


async def test_a_policy_scales_its_cluster_within_its_bounds(client, place):
    # given a cluster that shall have one to two droplets, and another one
    cluster, other = await a_cluster(client), await a_cluster(client)
    id = await made(client, cluster, min_replicas=1, max_replicas=2)
    body = {"name": "mine", "region": "nyc3", "cluster_id": other}
    await client.request("POST", "/api/v1/droplets", body)
    kept = await droplets(client, other, 1)
    # when it has none, then it gets one, in its region, whatever its load
    answer = await counted(client, cluster, "scale_up")
    assert [f"policy:{id} -> scale_up (0 droplets, at least 1)"] == answer["actions"]
    assert ["lon1"] == [each["region"] for each in await droplets(client, cluster, 1)]
    # when its load is high, then it grows, as far as it may
    await measured(client, cluster, 95.0)
    await droplets(client, cluster, 2)
    answer = await counted(client, cluster, "at most 2")
    assert ([], 1) == (answer["actions"], answer["evaluated"])
    # when it is in between, then nothing happens
    await measured(client, cluster, 60.0)
    answer = await evaluate(client, cluster, MOUNT)
    assert ([], []) == (answer["actions"], answer["decisions"])
    # when it is low, then it shrinks, as far as it may
    await measured(client, cluster, 40.0)
    answer = await evaluate(client, cluster)
    assert [f"policy:{id} -> scale_down (cpu 40, trigger 80)"] == answer["actions"]
    await droplets(client, cluster, 1)
    await counted(client, cluster, "at least 1")
    # and nothing has become of the other, and all was told
    assert kept == await droplets(client, other, 1)
    told = [
        event["payload"]["action"]
        for event in await place.log("cluster-events").bodies(cluster)
        if event["type"] == "autoscale.action"
    ]
    assert ["scale_up", "scale_up", "scale_down"] == told


async def test_a_threshold_that_is_crossed_has_policies_evaluated(client):
    # given
    cluster = await a_cluster(client)
    await made(client, cluster, min_replicas=0, max_replicas=3)
    # when nobody asks, and the load is above its threshold
    await measured(client, cluster, 90.0)
    # then
    await droplets(client, cluster, 1)


async def test_a_limit_of_cost_vetoes_and_reports(client):
    # given
    cluster = await a_cluster(client)
    await made(client, cluster, max_replicas=5)
    dear = await made(client, cluster, type="cost", cost_limit=30)
    await counted(client, cluster, "scale_up")
    await droplets(client, cluster, 1)
    # when
    await measured(client, cluster, 79.9)
    found = await counted(client, cluster, "estimated 36.00 a month, limit 30.00")
    # then
    assert [f"policy:{dear} -> cost_limit_check (estimated 36.00 a month, limit 30.00)"] == found["actions"]
    assert 2 == found["evaluated"]


async def test_jobs_scale_within_the_bounds_of_policies(client):
    # given
    cluster = await a_cluster(client)
    await made(client, cluster, min_replicas=1, max_replicas=2, metric_type="disk")
    await counted(client, cluster, "scale_up")
    await droplets(client, cluster, 1)

    async def job(**parameters: Any) -> dict[str, Any]:
        body = {"type": "scale", "parameters": {"cluster_id": cluster, **parameters}}
        id = (await client.request("POST", "/api/v1/jobs", body))["job"]["id"]

        async def found() -> dict[str, Any] | None:
            job: dict[str, Any] = (await client.request("GET", f"/api/v1/jobs/{id}"))["job"]
            return job if job["status"] in ("completed", "failed") else None

        return await until(found, within=30, what="the end of a job")

    # when, then
    assert 1 == len(json.loads((await job(count=5))["result"])["droplets"])
    assert ("failed", True) == (
        (full := await job())["status"],
        "as many droplets as its policies allow" in full["error"],
    )
    assert 1 == len(json.loads((await job(action="scale_down", count=5))["result"])["droplets"])


@pytest.mark.parametrize(("query", "status"), [("", 400), (f"?cluster_id={ABSENT}", 404)])
async def test_what_cannot_be_evaluated_is_refused(client, query, status):
    assert status == (await client.request("POST", EVALUATE + query)).status


async def test_a_cluster_without_policies_has_nothing_to_evaluate(client):
    cluster = await a_cluster(client)
    expected = {"cluster_id": cluster, "evaluated": 0, "actions": [], "decisions": []}
    assert expected == (await evaluate(client, cluster)).json


async def test_policies_are_evaluated_by_the_clock(servers):
    # given
    policy = Policy(
        droplet_provisioning=timedelta(milliseconds=50), autoscale_interval=timedelta(milliseconds=300)
    )
    async with Deployment(await servers.new_topics(), policy=policy) as deployment:
        await deployment.worker()
        client = await deployment.web(an_owner())
        cluster = await a_cluster(client)
        # when
        await made(client, cluster, min_replicas=1)
        # then
        await droplets(client, cluster, 1)
        # and not again before its cooldown is over
        await made(client, cluster, min_replicas=2)
        await counted(client, cluster, "scaled not long ago")
