"""Samples of clusters, and how these are by them (operations contract, sections 1.4, 2, 8 and 17)."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from prometheus_client import REGISTRY

import sinks
from database import DatabaseSettings, Pool
from domain.policy import Policy
from migrations.apply import migrate
from sinks.samples import NEW_FOR, prune
from sinks.settings import SinkSettings
from tests.conftest import until
from tests.e2e.product import Answer, Client, Deployment, an_owner

METRICS, HEALTH, MOUNT = "/api/v1/metrics", "/api/v1/health", "/genie/api/v1"
ABSENT = "4fe1157b-ebd4-4ece-9f79-dd52c6504f4e"
_clusters = count(1)


@pytest.fixture(scope="module")
async def database(servers):
    url = await servers.new_database()
    await migrate(url)
    return DatabaseSettings(url=url)


@pytest.fixture(scope="module")
async def place(servers, database):
    """A deployment with rows, whose samples have a worker of their own."""
    async with Deployment(await servers.new_topics(), policy=Policy()) as deployment:
        await deployment.worker(kinds="core")
        await deployment.worker(kinds="samples")
        await deployment.executor(kinds=("job",))
        stop = asyncio.Event()
        settings = SinkSettings(
            kafka=deployment.kafka,
            database=database,
            group_id=f"{deployment.kafka.topics.prefix}sink",
            gather=0.0,
        )
        sink = asyncio.create_task(sinks.run(settings, stop=stop))
        yield deployment
        stop.set()
        await sink


@pytest.fixture(scope="module")
async def client(place, database):
    return await place.web(an_owner(), database=database, export_interval=timedelta(milliseconds=100))


async def a_cluster(client: Client) -> str:
    id: str = (await client.created(f"cluster-{next(_clusters)}"))["id"]
    return id


async def add(client: Client, cluster: str, *metrics: dict[str, Any], path: str = METRICS) -> Answer:
    return await client.request("POST", path, {"cluster_id": cluster, "metrics": metrics})


async def stored(client: Client, cluster: str, number: int, **query: Any) -> dict[str, Any]:
    """The page of a cluster once it has so many samples."""
    asked = "".join(f"&{name}={value}" for name, value in query.items())

    async def found() -> dict[str, Any] | None:
        page: dict[str, Any] = (await client.request("GET", f"{METRICS}?cluster_id={cluster}{asked}")).json
        return page if page["total_count"] == number else None

    return await until(found, within=20, what=f"{number} samples")


async def healthy(client: Client, cluster: str, status: str) -> dict[str, Any]:
    """A health check that finds this."""

    async def found() -> dict[str, Any] | None:
        check: dict[str, Any] = (await client.request("GET", f"{HEALTH}/{cluster}")).json
        return check if check["status"] == status else None

    return await until(found, within=20, what=f"a cluster that is {status}")


def cpu(value: float, **members: Any) -> dict[str, Any]:
    return {"type": "cpu", "value": value, **members}


def ago(**given: float) -> str:
    return (datetime.now(UTC) - timedelta(**given)).isoformat()


# --- samples ------------------------------------------------------------------------------------------


async def test_samples_are_taken_in_and_shown_newest_first(client):
    # given
    cluster = await a_cluster(client)
    moment = ago(minutes=1)
    # when
    answer = await add(client, cluster, cpu(12.5, timestamp=moment), {"type": "network", "value": 3})
    # then
    assert (202, {"accepted": 2}) == (answer.status, answer.json)
    page = await stored(client, cluster, 2)
    assert ("1h", 1, 50) == (page["period"], page["page"], page["page_size"])
    newest, oldest = page["metrics"]
    assert ("network", 3.0, "Mbps") == (newest["type"], newest["value"], newest["unit"])
    millis = round(datetime.fromisoformat(moment).timestamp() * 1000)
    assert (f"{cluster}-cpu-{millis}", "%", cluster) == (oldest["id"], oldest["unit"], oldest["cluster_id"])
    assert "source" not in oldest
    # and one that comes again is the same
    await add(client, cluster, cpu(99.0, timestamp=moment), {"type": "disk", "value": 1})
    page = await stored(client, cluster, 3)
    assert [99.0] == [each["value"] for each in page["metrics"] if each["type"] == "cpu"]
    assert 1 == (await stored(client, cluster, 1, type="cpu"))["total_count"]


async def test_samples_have_pages(client):
    # given
    cluster = await a_cluster(client)
    samples = [cpu(float(number), timestamp=ago(seconds=number)) for number in range(55)]
    assert 202 == (await add(client, cluster, *samples, path=f"{MOUNT}/metrics")).status
    await stored(client, cluster, 55)
    # then
    pages = [
        (await client.request("GET", f"{MOUNT}/metrics?cluster_id={cluster}&page_size=20&page={page}")).json
        for page in (1, 2, 3, 4)
    ]
    assert [20, 20, 15, 0] == [len(page["metrics"]) for page in pages]
    values = [sample["value"] for page in pages for sample in page["metrics"]]
    assert [float(number) for number in range(55)] == values
    of_all = (await client.request("GET", f"{METRICS}?page_size=5000")).json
    assert (1000, True) == (of_all["page_size"], of_all["total_count"] >= 55)
    assert [] == (await client.request("GET", f"{METRICS}?page=999999999&page_size=1000"))["metrics"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"metrics": [cpu(1.0)]}, 400),
        ({"cluster_id": ABSENT}, 400),
        ({"cluster_id": ABSENT, "metrics": [cpu(1.0)]}, 404),
        ({"cluster_id": "no id / at all", "metrics": [cpu(1.0)]}, 404),
        ({"cluster_id": ABSENT, "metrics": [{"type": "load", "value": 1}]}, 400),
        ({"cluster_id": ABSENT, "metrics": [{"type": "cpu", "value": "much"}]}, 400),
        ({"cluster_id": ABSENT, "metrics": [{"type": "cpu"}]}, 400),
        ({"cluster_id": ABSENT, "metrics": [cpu(1.0, timestamp="today")]}, 400),
        ({"cluster_id": ABSENT, "metrics": [cpu(1.0)] * 1001}, 400),
    ],
)
async def test_what_is_no_sample_is_refused(client, body, status):
    assert status == (await client.request("POST", METRICS, body)).status


@pytest.mark.parametrize(("query", "status"), [("?type=load", 400), ("?cluster_id=%00", 400)])
async def test_what_cannot_be_asked_for_is_refused(client, query, status):
    assert status == (await client.request("GET", METRICS + query)).status


async def test_without_a_database_no_samples_are_shown(place):
    web = await place.web(an_owner())
    answer = await web.request("GET", METRICS)
    assert (503, "UNAVAILABLE") == (answer.status, answer["code"])


async def test_samples_go_once_they_are_old_or_their_cluster_is_gone(client, database):
    # given
    kept, gone = await a_cluster(client), await a_cluster(client)
    for cluster in (kept, gone):
        await add(client, cluster, cpu(1.0), cpu(2.0, timestamp=ago(days=2)), cpu(3.0, timestamp=ago(days=8)))
        await stored(client, cluster, 3)
    assert 202 == (await client.delete(gone, force=True)).status
    pool = Pool(database, application="test")

    async def left() -> list[tuple[str, int]]:
        async with pool.connection("look") as connection:
            rows = await connection.fetch(
                "SELECT cluster_id, count(*) AS number FROM metrics WHERE cluster_id = ANY($1) GROUP BY 1",
                [kept, gone],
            )
        return sorted((row["cluster_id"], row["number"]) for row in rows)

    async def deleted() -> bool:
        async with pool.connection("look") as connection:
            return bool(
                await connection.fetchval("SELECT deleted_at FROM clusters WHERE id::text = $1", gone)
                or not await connection.fetchval("SELECT count(*) FROM clusters WHERE id::text = $1", gone)
            )

    await until(deleted, what="the row of the deleted cluster")
    # when
    pruning = asyncio.create_task(prune(pool, timedelta(days=7)))
    # then what is newest of a cluster that is gone may be of a new one, and stays for ten minutes
    try:
        await until(lambda: _equal(left, sorted([(kept, 2), (gone, 1)])), what="what is left")
    finally:
        pruning.cancel()
        await asyncio.wait({pruning})
        await pool.close()
    assert timedelta(minutes=10) == NEW_FOR


async def _equal(ask: Any, expected: Any) -> bool:
    return bool(await ask() == expected)


# --- what nodes publish -------------------------------------------------------------------------------


async def test_events_of_nodes_become_samples(client, place):
    # given
    cluster = await a_cluster(client)
    events = place.log("cluster-events")
    listed = {
        "type": "telemetry",
        "event_id": "8f4c2f9e-3f0a-4d3f-9a52-7b8f1a3c5d6e",
        "cluster_id": cluster,
        "timestamp": ago(seconds=1),
        "metrics": [
            {"type": "cpu_usage", "value": 91, "unit": "percent", "timestamp": ago(seconds=9)},
            {"type": "memory"},
            {"value": 3},
            7,
            {"type": "disk", "value": "much"},
            {"type": "network", "value": 5, "timestamp": "yesterday"},
        ],
    }
    before = dropped()
    # when
    await events.publish(cluster, b"no event at all")
    await events.publish(cluster, listed)
    await events.publish(cluster, listed)
    await events.publish(cluster, {"type": "x", "cluster_id": cluster, "memory": "42.5", "disk": None})
    await events.publish(cluster, {"type": "y", "cluster_id": cluster, "payload": {"disk": 7, "cpu": "full"}})
    await events.publish(cluster, {"type": "job_completed", "cluster_id": cluster, "job_id": "j"})

    # then
    async def found() -> dict[str, Any] | None:
        page = (await client.request("GET", f"{METRICS}?cluster_id={cluster}")).json["metrics"]
        latest = {each["type"]: (each["value"], each["unit"]) for each in page[::-1]}
        return latest if len(latest) == 4 else None

    latest = await until(found, within=20, what="samples of all types")
    assert {"cpu": (91, "%"), "memory": (42.5, "%"), "disk": (7, "%"), "network": (5, "Mbps")} == latest
    assert before + 2 * 4 + 1 == dropped()
    assert 1 == (await stored(client, cluster, 1, type="cpu"))["total_count"]


def dropped() -> float:
    return REGISTRY.get_sample_value("clusterflow_samples_dropped_total") or 0


async def test_nodes_may_send_commands_as_well(client, place):
    cluster = await a_cluster(client)
    commands = place.log("samples.commands")
    command = {"type": "samples.add", "id": cluster, "command_id": "c", "samples": [cpu(33.0)]}
    await commands.publish(cluster, command)
    assert [33.0] == [each["value"] for each in (await stored(client, cluster, 1))["metrics"]]
    # and what is none is parked
    await commands.publish(cluster, {**command, "samples": [{"type": "load", "value": 1}]})
    parked = await place.log("samples.commands.dlq").wait_for(cluster)
    assert "load" in json.dumps(parked)


# --- health -------------------------------------------------------------------------------------------


async def test_a_cluster_is_as_its_samples_say(client, place):
    # given a cluster of which nothing is known
    cluster = await a_cluster(client)
    first = (await client.request("GET", f"{HEALTH}/{cluster}")).json
    assert (cluster, "healthy", 1) == (first["cluster_id"], first["status"], len(first["issues"]))
    # when too much memory is used
    await add(client, cluster, cpu(95.0), {"type": "memory", "value": 86})
    found = await healthy(client, cluster, "critical")
    # then
    assert ["cpu is 95 %, above 80 %", "memory is 86 %, above 85 %"] == found["issues"]
    flat = (await client.request("GET", f"{MOUNT}/clusters/{cluster}"))["cluster"]
    assert ("critical", found["timestamp"]) == (flat["status"], flat["last_checked"])
    # and that is told, with the thresholds that were crossed
    events = place.log("cluster-events")
    changed = await events.wait_for(cluster, lambda body: body["type"] == "cluster.health_changed")
    assert ("critical", "healthy") == (changed["payload"]["status"], changed["payload"]["before"])
    crossed = [
        body["payload"]["type"]
        for body in await events.bodies(cluster)
        if body["type"] == "metric.threshold_exceeded"
    ]
    assert ["cpu", "memory"] == crossed
    # and diagnosed, and the native cluster has no other generation
    said = (await client.request("POST", "/api/v1/diagnosis/diagnose", {"cluster_id": cluster})).json
    assert "cpu is 95 %, above 80 %" in said["insights"]
    assert 1 == (await client.get(cluster))["generation"]
    # when all is well again
    await add(client, cluster, cpu(5.0), {"type": "memory", "value": 5})
    assert [] == (await healthy(client, cluster, "healthy"))["issues"]


@pytest.mark.parametrize("cluster", [ABSENT, "no-id"])
async def test_the_health_of_no_cluster_is_not_known(client, cluster):
    answer = await client.request("GET", f"{HEALTH}/{cluster}")
    assert (404, "cluster not found") == (answer.status, answer["error"])


async def test_jobs_check_one_cluster_or_all(client):
    # given
    cluster = await a_cluster(client)
    await add(client, cluster, {"type": "disk", "value": 99})
    await healthy(client, cluster, "critical")

    async def job(**body: Any) -> dict[str, Any]:
        made = (await client.request("POST", "/api/v1/jobs", {"type": "monitor", **body}))["job"]

        async def found() -> dict[str, Any] | None:
            job: dict[str, Any] = (await client.request("GET", f"/api/v1/jobs/{made['id']}"))["job"]
            return job if job["status"] in ("completed", "failed") else None

        return await until(found, within=30, what="the end of a job")

    # when
    one, every, lost = await job(cluster_id=cluster), await job(), await job(cluster_id=ABSENT)
    # then
    assert {"status": "critical", "issues": ["disk is 99 %, above 90 %"]} == json.loads(one["result"])
    result = json.loads(every["result"])
    assert (result["clusters"], True) == (
        sum(result["statuses"].values()),
        result["statuses"]["critical"] >= 1,
    )
    assert ("failed", "cluster not found") == (lost["status"], lost["error"])


async def test_the_newest_samples_are_metrics_until_their_cluster_is_deleted(client):
    # given
    cluster = await a_cluster(client)
    await add(client, cluster, cpu(64.0))
    labels = {"cluster_id": cluster, "metric_type": "cpu", "unit": "%"}

    async def value() -> float | None:
        return REGISTRY.get_sample_value("clustergenie_cluster_metric_value", labels)

    await until(lambda: _equal(value, 64.0), what="the metric")
    # when
    await client.delete(cluster, force=True)
    # then
    await until(lambda: _equal(value, None), what="no metric")
