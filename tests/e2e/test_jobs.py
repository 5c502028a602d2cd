"""Jobs over REST and Kafka, done by executors (operations contract, sections 1.3, 2, 4, 5 and 9)."""

import json
import re
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY

from domain.policy import Policy
from domain.values import replace
from tests.conftest import until
from tests.e2e.product import Answer, Client, Deployment, an_owner
from web.job_pool import JobPoolSettings

JOBS, MOUNT = "/api/v1/jobs", "/genie/api/v1"
POOL = "/observability/workerpool"
ABSENT = "4fe1157b-ebd4-4ece-9f79-dd52c6504f4e"
SPEC = {"platform": {"type": "gcp"}, "region": "lon1"}
ENDED = ("completed", "failed", "cancelled")
_clusters = count(1)

LIMITS = replace(Policy().job_limits, lease=timedelta(seconds=2), first_pause=timedelta(milliseconds=50))
QUICK = Policy(droplet_provisioning=timedelta(milliseconds=200), job_limits=LIMITS)
SLOW = replace(QUICK, droplet_provisioning=timedelta(hours=1))


@pytest.fixture(scope="module")
async def place(servers):
    """A deployment where droplets are soon active."""
    async with Deployment(await servers.new_topics(), policy=QUICK) as deployment:
        await deployment.worker()
        await deployment.executor(kinds=("job",))
        yield deployment


@pytest.fixture(scope="module")
async def client(place):
    return await place.web(an_owner())


@pytest.fixture
async def idle(servers):
    """A deployment where nobody does jobs, and no droplet is ever active."""
    async with Deployment(await servers.new_topics(), policy=SLOW) as deployment:
        await deployment.worker()
        yield deployment


async def post(client: Client, type: str = "provision", path: str = JOBS, **members: Any) -> Answer:
    return await client.request("POST", path, {"type": type} | members)


async def made(client: Client, type: str = "provision", **parameters: Any) -> dict[str, Any]:
    answer = await post(client, type, parameters=parameters)
    assert answer.status == 201, answer
    job: dict[str, Any] = answer["job"]
    return job


async def a_cluster(client: Client) -> str:
    id: str = (await client.created(f"cluster-{next(_clusters)}", SPEC))["id"]
    return id


async def get(client: Client, id: str) -> dict[str, Any]:
    job: dict[str, Any] = (await client.request("GET", f"{JOBS}/{id}"))["job"]
    return job


async def once(client: Client, id: str, *statuses: str) -> dict[str, Any]:
    """A job as soon as it is there and has one of these statuses."""

    async def found() -> dict[str, Any] | None:
        answer = await client.request("GET", f"{JOBS}/{id}")
        return answer["job"] if answer.status == 200 and answer["job"]["status"] in statuses else None

    return await until(found, within=30, what=f"a job that is {' or '.join(statuses)}")


async def done(client: Client, type: str = "provision", **parameters: Any) -> dict[str, Any]:
    """A job at its end."""
    return await once(client, (await made(client, type, **parameters))["id"], *ENDED)


async def droplets_of(client: Client, cluster_id: str) -> list[dict[str, Any]]:
    """The droplets of a cluster, oldest first."""
    found: list[dict[str, Any]] = (await client.request("GET", f"/api/v1/droplets?cluster_id={cluster_id}"))[
        "droplets"
    ]
    return found[::-1]


# --- what jobs do ---------------------------------------------------------------------------------------


async def test_a_droplet_is_provisioned(client):
    # when
    cluster = await a_cluster(client)
    answer = await post(client, parameters={"cluster_id": cluster, "size": "c-2", "job_name": "mine"})
    job = answer["job"]
    ended = await once(client, job["id"], *ENDED)
    # then it was queued first
    assert (201, "Job created", f"{JOBS}/{job['id']}") == (
        answer.status,
        answer["message"],
        answer.headers["Location"],
    )
    assert re.fullmatch(r"job-provision-\d{14}-[0-9a-f]{8}", job["id"])
    assert ("queued", 0, cluster) == (job["status"], job["progress"], job["cluster_id"])
    assert {"cluster_id": cluster, "size": "c-2", "job_name": "mine"} == json.loads(job["parameters"])
    assert {"result", "error", "completed_at"}.isdisjoint(job)
    labels = {"job_type": "provision", "status": "completed"}
    assert REGISTRY.get_sample_value("clustergenie_job_processing_seconds_count", labels)
    # and there is a droplet as it was asked for
    assert ("completed", 100, 1) == (ended["status"], ended["progress"], ended["attempts"])
    (droplet,) = await droplets_of(client, cluster)
    assert {"droplet_id": droplet["id"], "ip_address": droplet["ip_address"]} == json.loads(ended["result"])
    assert ("active", "c-2", "nyc3", f"droplet-{job['id'][-8:]}") == tuple(
        droplet[name] for name in ("status", "size", "region", "name")
    )


async def test_a_cluster_is_made_larger_and_smaller(client):
    cluster = await a_cluster(client)
    first = json.loads((await done(client, cluster_id=cluster))["result"])["droplet_id"]
    # when
    up = await done(client, "scale", cluster_id=cluster, count="2")
    larger = await droplets_of(client, cluster)
    down = await done(client, "scale", cluster_id=cluster, action="scale_down")
    smaller = await droplets_of(client, cluster)
    # then
    new = json.loads(up["result"])["droplets"]
    assert {first, *new} == {droplet["id"] for droplet in larger}
    assert [("lon1", "ubuntu-22-04-x64", "active")] * 2 == [
        (droplet["region"], droplet["image"], droplet["status"]) for droplet in larger if droplet["id"] in new
    ]
    assert {"action": "scale_down", "droplets": [new[-1]]} == json.loads(down["result"])
    assert {first, new[0]} == {droplet["id"] for droplet in smaller}


@pytest.mark.parametrize("type", ["provision", "scale"])
async def test_a_job_of_a_cluster_that_is_not_there_fails(client, type):
    failed = await done(client, type, cluster_id=ABSENT)
    assert ("failed", "cluster not found", 1) == (failed["status"], failed["error"], failed["attempts"])
    assert failed["progress"] < 100
    assert [] == await droplets_of(client, ABSENT)


@pytest.mark.parametrize("region", ["  ", "r" * 300])
async def test_a_region_that_no_droplet_can_have_is_none(client, region):
    spec = {"platform": {"type": "gcp"}, "region": region}
    cluster = (await client.created(f"cluster-{next(_clusters)}", spec))["id"]
    job = await done(client, "scale", cluster_id=cluster)
    (droplet,) = await droplets_of(client, cluster)
    assert ("completed", region.strip()[:255] or "nyc1") == (job["status"], droplet["region"])


async def test_a_cluster_without_droplets_does_not_become_smaller(client):
    failed = await done(client, "scale", cluster_id=await a_cluster(client), action="scale_down")
    assert ("failed", "no droplets to scale down") == (failed["status"], failed["error"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "type"),
        ({"type": "paint"}, "type"),
        ({"type": 7}, "type"),
        ({"type": "provision"}, "cluster_id"),
        ({"type": "provision", "parameters": {"cluster_id": ""}}, "cluster_id"),
        ({"type": "provision", "parameters": {"cluster_id": 7}}, "parameters"),
        ({"type": "provision", "cluster_id": "c" * 256}, "cluster_id"),
        ({"type": "provision", "cluster_id": ABSENT, "parameters": []}, "parameters"),
        ({"type": "provision", "cluster_id": ABSENT, "parameters": {"size": ["big"]}}, None),
        ({"type": "provision", "cluster_id": ABSENT, "parameters": {"note": "a" * 8192}}, "parameters"),
        ({"type": "provision", "cluster_id": ABSENT, "parameters": {"n": 2**64}}, "parameters"),
        ({"type": "scale", "cluster_id": ABSENT, "parameters": {"action": "sideways"}}, "parameters"),
        ({"type": "scale", "cluster_id": ABSENT, "parameters": {"count": 11}}, "parameters"),
        ({"type": "scale", "cluster_id": ABSENT, "parameters": {"count": True}}, "parameters"),
    ],
)
async def test_a_bad_body_is_refused(client, body, field):
    answer = await client.request("POST", JOBS, body)
    assert (400, "VALIDATION_FAILED") == (answer.status, answer["code"])
    assert isinstance(answer["error"], str)
    if field is not None:
        assert field == answer["details"]["field"]


async def test_a_job_under_a_key_is_one_job(client):
    cluster, key = await a_cluster(client), {"Idempotency-Key": str(uuid4())}
    body = {"type": "provision", "cluster_id": cluster}
    answers = [await client.request("POST", JOBS, body, headers=key) for _ in range(2)]
    await once(client, answers[0]["job"]["id"], *ENDED)
    assert [201, 201] == [answer.status for answer in answers]
    assert answers[0]["job"]["id"] == answers[1]["job"]["id"]
    assert 1 == len(await droplets_of(client, cluster))


async def test_a_job_that_comes_by_kafka_is_done(client, place):
    # given
    cluster, id = await a_cluster(client), f"job-{uuid4()}"
    parameters = {"cluster_id": cluster, "image": "mine"}
    create = {
        "type": "job.create",
        "id": id,
        "command_id": str(uuid4()),
        "job_type": "provision",
        "parameters": parameters,
    }
    # when it comes twice
    for _ in range(2):
        await place.log("job.commands").publish(id, create)
    ended = await once(client, id, *ENDED)
    # then
    assert "completed" == ended["status"]
    assert str(UUID(ended["trace_id"])) == ended["trace_id"]
    assert ["mine"] == [droplet["image"] for droplet in await droplets_of(client, cluster)]


async def test_events_tell_the_way_of_a_job(client, place):
    # when
    cluster, trace = await a_cluster(client), uuid4()
    headers = {"traceparent": f"00-{trace.hex}-00f067aa0ba902b7-01"}
    body = {"type": "provision", "parameters": {"cluster_id": cluster}}
    job = (await client.request("POST", JOBS, body, headers=headers))["job"]
    await once(client, job["id"], *ENDED)
    # then all of it is told under the job's id
    events = await place.log("cluster-events").bodies(job["id"])
    assert [
        ("job.requested", 0, ""),
        ("job.started", 5, ""),
        ("job.progress", 10, "Looking for the cluster"),
        ("job.progress", 30, "Creating a droplet"),
        ("job.progress", 75, "Waiting until the droplet is active"),
    ] == [(event["type"], event["progress"], event["message"]) for event in events[:5]]
    assert ("job.completed", 100) == (events[5]["type"], events[5]["progress"])
    assert {(job["id"], "provision", cluster, str(trace))} == {
        (event["job_id"], event["job_type"], event["cluster_id"], event["trace_id"]) for event in events
    }
    assert {"cluster_id": cluster} == events[0]["payload"]
    assert 6 == len({event["event_id"] for event in events}) == len(events)
    # and its droplet belongs to the same trace
    (droplet,) = await droplets_of(client, cluster)
    created = await place.log("cluster-events").wait_for(droplet["id"])
    assert (str(trace), str(trace)) == (created["trace_id"], job["trace_id"])


async def test_a_client_may_name_its_trace(client):
    trace, body = str(uuid4()), {"type": "provision", "cluster_id": ABSENT}
    named = await client.request("POST", JOBS, body, headers={"X-Trace-ID": trace})
    other = await client.request("POST", JOBS, body, headers={"X-Trace-ID": "what"})
    assert (trace, trace) == (named["job"]["trace_id"], named.headers["X-Trace-ID"])
    assert str(UUID(other["job"]["trace_id"])) == other.headers["X-Trace-ID"]


async def test_a_failure_is_told_with_its_reason(client, place):
    job = await done(client, cluster_id=ABSENT)
    events = await place.log("cluster-events").bodies(job["id"])
    assert ("job.failed", "cluster not found", "failed: cluster not found") == tuple(
        events[-1][name] for name in ("type", "error", "message")
    )


# --- the queue ------------------------------------------------------------------------------------------


async def test_what_waits_is_cancelled_at_once_and_stays_so(idle):
    client = await idle.web(an_owner())
    job = await made(client, cluster_id=ABSENT)
    # when
    cancelled = await client.request("POST", f"{JOBS}/{job['id']}/cancel")
    again = await client.request("POST", f"{JOBS}/{job['id']}/cancel")
    absent = await client.request("POST", f"{JOBS}/job-none/cancel")
    await idle.executor(stop_within=timedelta(0))
    later = await made(client, cluster_id=ABSENT)
    await once(client, later["id"], "failed")
    # then
    assert (200, "cancelled") == (cancelled.status, cancelled["job"]["status"])
    assert "completed_at" in cancelled["job"]
    assert (409, "WORK_ENDED", 404) == (again.status, again["code"], absent.status)
    assert "cancelled" == (await get(client, job["id"]))["status"]


async def test_what_is_being_done_ends_between_two_steps(idle):
    # given a job that waits for a droplet
    client = await idle.web(an_owner())
    await idle.executor(stop_within=timedelta(0))
    job = await made(client, cluster_id=await a_cluster(client))

    async def waiting() -> bool:
        return bool((await get(client, job["id"]))["progress"] == 75)

    await until(waiting, within=20, what="a job at 75")
    # when
    answer = await client.request("POST", f"{JOBS}/{job['id']}/cancel")
    # then
    assert (200, "processing") == (answer.status, answer["job"]["status"])
    cancelled = await once(client, job["id"], *ENDED)
    assert ("cancelled", 75) == (cancelled["status"], cancelled["progress"])


async def test_more_than_the_queue_holds_are_turned_away(idle):
    # given a queue for two
    client = await idle.web(an_owner(), job_pool=JobPoolSettings(queue=2))
    key = {"Idempotency-Key": "first"}
    body = {"type": "provision", "cluster_id": ABSENT}
    answers = [await client.request("POST", JOBS, body, headers=key)]
    # when
    answers += [await client.request("POST", JOBS, body) for _ in range(2)]
    repeated = await client.request("POST", JOBS, body, headers=key)
    # then the third is nowhere, and a repeat is none
    assert [201, 201, 503] == [answer.status for answer in answers]
    assert ("5", "The queue of jobs is full") == (answers[2].headers["Retry-After"], answers[2]["error"])
    assert 201 == repeated.status
    assert 2 == (await client.request("GET", JOBS))["total"]
    labels = {"job_type": "provision", "status": "rejected"}
    assert 1 == REGISTRY.get_sample_value("clustergenie_jobs_processed_total", labels)


async def test_no_more_are_done_at_once_than_an_executor_may(idle):
    # given four executors' worth of work, none of which ends
    client = await idle.web(an_owner(), job_pool=JobPoolSettings(places=3))
    cluster = await a_cluster(client)
    jobs = [(await made(client, cluster_id=cluster))["id"] for _ in range(6)]
    # when
    await idle.executor(most_jobs=3, stop_within=timedelta(0))

    async def pool() -> Answer | None:
        found = await client.request("GET", f"/api/v1{POOL}")
        return found if found["active_workers"] == 3 and found["instances"] else None

    snapshot = await until(pool, within=20, what="three jobs at work")
    # then
    assert {
        "worker_count": 3, "active_workers": 3, "queue_length": 3, "queue_capacity": 100,
    }.items() <= snapshot.json.items()  # fmt: skip
    waiting = [id for id in jobs if (await get(client, id))["status"] == "queued"]
    assert waiting == snapshot["queued_ids"]


# --- lists ----------------------------------------------------------------------------------------------


@pytest.fixture
async def eight(idle):
    """A client, and eight jobs, oldest first, of which the first two have ended."""
    client = await idle.web(an_owner())
    jobs = [
        (await made(client, type, cluster_id=cluster))["id"]
        for type in ("provision", "scale")
        for cluster in (ABSENT, "other")
        for _ in range(2)
    ]
    for id in jobs[:2]:
        await client.request("POST", f"{JOBS}/{id}/cancel")
    return client, jobs


async def test_lists_are_paged_sorted_and_filtered(eight):
    client, jobs = eight
    newest = jobs[::-1]

    async def listed(query: str, path: str = JOBS) -> tuple[list[str], int, int, int]:
        answer = await client.request("GET", f"{path}?{query}")
        assert answer.status == 200, answer
        ids = [job["id"] for job in answer["jobs"]]
        return ids, answer["page"], answer["page_size"], answer["total"]

    for query, expected in {
        "": (newest[:5], 1, 5, 8),
        "page=2": (newest[5:], 2, 5, 8),
        "page=9": ([], 9, 5, 8),
        "page=0&page_size=none": (newest[:5], 1, 5, 8),
        "page_size=1000&sort_dir=desc": (newest, 1, 100, 8),
        "page_size=3&page=3&sort_dir=asc": (jobs[6:], 3, 3, 8),
        "page_size=9&sort_by=colour&sort_dir=up": (jobs, 1, 9, 8),
        "page_size=9&sort_by=id": (sorted(jobs, reverse=True), 1, 9, 8),
        "page_size=3&page=2&sort_by=id&sort_dir=asc": (sorted(jobs)[3:6], 2, 3, 8),
        "status=cancelled": (newest[6:], 1, 5, 2),
        "status=pending&type=provision": (newest[4:6], 1, 5, 2),
        "status=queued&cluster_id=other&page_size=1": (newest[:1], 1, 1, 4),
    }.items():
        assert expected == await listed(query), query
    assert 400 == (await client.request("GET", f"{JOBS}?status=done")).status


async def test_clients_of_operators_know_other_states(eight):
    client, jobs = eight
    path = f"{MOUNT}/jobs"
    page = await client.request("GET", f"{path}?page_size=8")
    assert ["pending"] * 6 + ["failed"] * 2 == [job["status"] for job in page["jobs"]]
    assert "failed" == (await client.request("GET", f"{path}/{jobs[0]}"))["job"]["status"]
    created = await post(client, "provision", path, cluster_id=ABSENT)
    assert (201, "pending", f"{path}/{created['job']['id']}") == (
        created.status,
        created["job"]["status"],
        created.headers["Location"],
    )
    cancelled = await client.request("POST", f"{path}/{created['job']['id']}/cancel")
    assert ("failed", "Cancelled") == (cancelled["job"]["status"], cancelled["job"]["error"])
    assert 6 == (await client.request("GET", f"{MOUNT}{POOL}"))["queue_length"]


async def test_they_have_no_feed_that_would_show_others(eight):
    client, _ = eight
    page = await client.request("GET", f"{MOUNT}/jobs?watch=true")
    assert (200, 8) == (page.status, page["total"])


async def test_the_pool_is_shown_on_the_path_of_the_documentation_too(eight):
    client, _ = eight
    shown = [await client.request("GET", path) for path in (POOL, f"/api/v1{POOL}")]
    assert [200, 200] == [answer.status for answer in shown]
    assert shown[0].json == shown[1].json


async def test_ids_sort_by_time_within_a_type(eight):
    _, jobs = eight
    stamps = [datetime.strptime(id.split("-")[2], "%Y%m%d%H%M%S").replace(tzinfo=UTC) for id in jobs]
    assert sorted(stamps) == stamps
    assert datetime.now(UTC) - stamps[0] < timedelta(minutes=5)
