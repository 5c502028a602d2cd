"""What roles tell of themselves under traffic: the metrics of the contract, and log lines without secrets."""

import asyncio
import json
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import urlopen
from uuid import uuid4

import aiohttp
import asyncpg
import grpc.aio
import orjson
import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from rpc.task.v1.task_pb2 import GetTaskStatusRequest, ProcessTaskRequest
from rpc.task.v1.task_pb2_grpc import TaskServiceStub
from streams.kafka.partitions import partition_of
from tests.conftest import until
from tests.e2e.product import CONTROLLER, Client, command, report
from tests.processes import answers, environment_of, eventually, role, run

ROLES = ("web", "grpc", "worker", "sink", "executor", "recorder", "relay")

SECRET = "hunter2marker"  # in the URL of the database, in specs, bodies and reports
OWNER, NAME, CONTROLLER_NAME = "owner-marker@example.com", "name-marker", "controller-marker"
KEY = "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmh1bnQ="

# Contract, section 9, and what simple kinds add. Name, type, labels, and who tells it.
METRICS = """
clusterflow_http_requests_total             counter    method,path,status web
clusterflow_http_request_duration_seconds   histogram  method,path       web
clusterflow_clusters_total                  gauge      phase             web
clusterflow_entities                        gauge      kind,state        web
clusterflow_database_connections_active     gauge      -                 web,sink,recorder,relay
clusterflow_database_connections_idle       gauge      -                 web,sink,recorder,relay
clusterflow_database_connections_max        gauge      -                 web,sink,recorder,relay
clusterflow_database_query_duration_seconds histogram  operation         web,sink,recorder,relay
clusterflow_kafka_messages_published_total  counter    topic             all
clusterflow_kafka_publish_duration_seconds  histogram  topic             all
clusterflow_reconciliation_duration_seconds histogram  -                 worker
clusterflow_reconcile_events_total          counter    reason,result     worker
clusterflow_reconcile_due                   gauge      state             worker
clusterflow_status_reports_total            counter    result            worker
clusterflow_commands_total                  counter    kind,type,outcome worker
clusterflow_wakes_due                       gauge      kind              worker
clusterflow_wake_lag_seconds                histogram  kind              worker
clusterflow_dead_letters_total              counter    topic,reason      worker,sink,recorder
clusterflow_sink_lag_records                gauge      -                 sink,recorder
clusterflow_sink_rows_written_total         counter    table             sink,recorder
clusterflow_work_in_progress                gauge      kind              executor
clusterflow_work_done_total                 counter    kind,how          executor
clusterflow_work_not_claimed_total          counter    kind,code         executor
clusterflow_outbox_pending                  gauge      -                 relay
clusterflow_outbox_oldest_seconds           gauge      -                 relay
clusterflow_outbox_parked                   gauge      -                 relay
clusterflow_outbox_leads                    gauge      -                 relay
clusterflow_outbox_published_total          counter    -                 relay
clusterflow_outbox_rows_failed_total        counter    -                 relay
clusterflow_outbox_rows_parked_total        counter    reason            relay
clusterflow_table_recovering                gauge      -                 web,grpc,worker
grpc_server_handled_total    counter    grpc_type,grpc_service,grpc_method,grpc_code  grpc
grpc_server_handling_seconds  histogram  grpc_type,grpc_service,grpc_method  grpc
"""


def _who(roles: str) -> tuple[str, ...]:
    return ROLES if roles == "all" else tuple(roles.split(","))


ROWS = [line.split() for line in METRICS.strip().splitlines()]
TOLD = [(name, kind, labels, who) for name, kind, labels, roles in ROWS for who in _who(roles)]


# What the traffic below makes the worker count: name, labels, and how much at least.
COUNTED = [
    ("commands_total", {"kind": "cluster", "type": "create", "outcome": "applied"}, 1),
    ("commands_total", {"kind": "cluster", "type": "create", "outcome": "rejected"}, 1),
    ("commands_total", {"kind": "cluster", "type": "update", "outcome": "applied"}, 1),
    ("status_reports_total", {"result": "applied"}, 1),
    ("status_reports_total", {"result": "future"}, 1),
    ("status_reports_total", {"result": "rejected"}, 2),
    ("reconcile_events_total", {"reason": "never_reconciled", "result": "emitted"}, 1),
    ("table_recovering", {}, 0),
]


@dataclass
class Told:
    """What the roles told while traffic ran."""

    metrics: dict[str, str]  # by role
    logs: dict[str, list[str]]
    cluster_id: str


@pytest.fixture(scope="module")
async def told(servers, tmp_path_factory):
    kafka = await servers.new_topics()
    database_url = with_password(await servers.new_database())
    environment = {
        **environment_of(kafka, database_url),
        "LOG_LEVEL": "debug",
        "SECRET_KEYS": f"k1:{KEY}",
        "RECONCILIATION_CHECK_INTERVAL": "1s",
        "DISABLE_AUTH": "true",
        "ENVIRONMENT": "production",
    }
    migrated = await asyncio.to_thread(run, "migrate", **environment)
    assert migrated.returncode == 0, migrated.stderr
    logs = tmp_path_factory.mktemp("logs")
    with ExitStack() as running:
        urls = {}
        for name in ROLES:
            _, urls[name] = running.enter_context(role(name, logs / name, **environment))
        for url in urls.values():
            await asyncio.to_thread(eventually, lambda url=url: answers(f"{url}/ready", 200))
        await calls(f"127.0.0.1:{environment['GRPC_SERVICE_PORT']}")
        await rows(database_url)
        cluster_id = await traffic(f"http://127.0.0.1:{environment['PORT']}", kafka)

        async def all_is_counted() -> dict[str, str] | None:
            scraped = {name: await asyncio.to_thread(scrape, url) for name, url in urls.items()}
            missing = [name for name, _, _, who in TOLD if not families(scraped[who]).get(name)]
            if missing or any(value_of(scraped["worker"], *each) < least for *each, least in COUNTED):
                return None
            return scraped

        metrics = await until(all_is_counted, within=40, what="every metric")
    return Told(metrics, {name: (logs / name).read_text().splitlines() for name in ROLES}, cluster_id)


def with_password(url: str) -> str:
    """A URL whose password is the marker where the server does not look at it."""
    parts = urlsplit(url)
    if parts.password:
        return url
    return url.replace(
        "://" + parts.netloc, f"://{parts.username}:{SECRET}@{parts.netloc.rpartition('@')[2]}"
    )


def scrape(url: str) -> str:
    with urlopen(f"{url}/metrics", timeout=5) as response:
        return response.read().decode()


def families(text: str) -> dict[str, list]:
    """Metrics by their name in the contract; those that have values."""
    found = {}
    for family in text_string_to_metric_families(text):
        name = family.name + ("_total" if family.type == "counter" else "")
        samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
        if samples:
            found[name] = [family.type, samples]
    return found


def value_of(text: str, name: str, labels: dict[str, str]) -> float:
    """The value of a metric under exactly these labels; below every count if there is none."""
    _, samples = families(text)[f"clusterflow_{name}"]
    values = [s.value for s in samples if s.labels == labels and not s.name.endswith("_created")]
    return values[0] if values else -1


async def calls(address: str) -> None:
    """Calls over gRPC, with the marker."""
    async with grpc.aio.insecure_channel(address) as channel:
        tasks = TaskServiceStub(channel)
        asked = ProcessTaskRequest(resource_id=SECRET, action=SECRET, metadata={SECRET: SECRET})
        await tasks.ProcessTask(asked, timeout=20)
        with pytest.raises(grpc.aio.AioRpcError):
            await tasks.GetTaskStatus(GetTaskStatusRequest(task_id=SECRET), timeout=20)


async def rows(url: str) -> None:
    """Rows of an outbox, one that is published and some that are parked."""
    payload = {"id": "r", "name": SECRET, "description": SECRET}
    connection = await asyncpg.connect(url)
    try:
        for event_type, of, headers in (
            ("resource.created", payload, {"x": SECRET}),
            ("resource.created", {**payload, "status": SECRET}, {}),
            ("resource.created", {SECRET: SECRET}, {}),
            ("resource.created", payload, {"x": [SECRET]}),
            (SECRET, payload, {}),
        ):
            await connection.execute(
                "INSERT INTO outbox_events (aggregate_id, event_type, payload, headers)"
                " VALUES ('r', $1, $2, $3)",
                event_type,
                json.dumps(of),
                json.dumps(headers),
            )
    finally:
        await connection.close()


async def traffic(url: str, kafka) -> str:
    """Requests and records, good and bad, each with the marker somewhere."""
    spec = {
        "platform": {"type": "gcp"},
        "serviceAccountSigningKey": SECRET,
        "note": SECRET,
        "release": {"image": SECRET},
    }
    async with aiohttp.ClientSession() as session:
        api = Client(url, session, OWNER)
        cluster_id = (await api.created(NAME, spec))["id"]
        assert (await api.create(NAME, spec)).status == 409
        assert (await api.create("bad", {**spec, "platform": {"type": SECRET}})).status == 400
        assert (
            await api.create("bad", {**spec, "platform": {"type": "GCP"}, "infraID": SECRET + "_"})
        ).status == 400
        assert (await api.create("bad", {**spec, "release": {"channelGroup": SECRET}})).status == 400
        assert (await api.request("POST", "/api/v1/clusters", f'{{"{SECRET}'.encode())).status == 400
        assert (await api.update(cluster_id, spec)).status == 200
        await api.report(cluster_id, controller_name=CONTROLLER_NAME, metadata={"note": SECRET})
        await api.report(
            cluster_id, controller_name=CONTROLLER_NAME, observed_generation=9, last_error={"message": SECRET}
        )
        for path in (cluster_id, f"{cluster_id}/status", SECRET, f"/nowhere/{SECRET}", "/health"):
            await api.get(path)
        assert (await api.as_(CONTROLLER).get(cluster_id)).status == 200
        assert (await api.request("POST", "/api/v1/resources", {"name": SECRET})).status == 201
        await bad_records(kafka, cluster_id, spec)
    return cluster_id


async def bad_records(kafka, cluster_id: str, spec: dict) -> None:
    topics = kafka.topics
    other = str(uuid4())
    misspelt = command("update", other, OWNER, spec=SECRET)
    refused = command(
        "update", cluster_id, OWNER, spec={**spec, "platform": {"type": "GCP"}, "infraID": SECRET}
    )
    stray = {"task_id": other, "resource_id": other, "action": SECRET}
    records = [
        (topics.of("task.process"), other, json.dumps(stray)),
        (topics.commands, other, json.dumps(misspelt)),
        (topics.commands, cluster_id, json.dumps(refused)),
        (topics.commands, "nobody", json.dumps(command("update", other, OWNER, spec=spec))),
        (topics.create_requests, SECRET, json.dumps({"spec": spec, "name": SECRET})),
        (
            topics.reports,
            cluster_id,
            json.dumps(report(cluster_id, conditions=[{"type": SECRET, "status": SECRET}])),
        ),
        (topics.reports, other, json.dumps(report(other, metadata={"note": SECRET}))),
        (topics.events, other, SECRET),
        (topics.of("resource.created"), other, SECRET),
    ]
    # A foreign record in the changelog makes the worker begin anew as soon as it writes there; not here.
    elsewhere = (partition_of(cluster_id.encode(), kafka.partitions) + 1) % kafka.partitions
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
        for topic, key, value in records:
            await producer.send_and_wait(topic, value.encode(), key=key.encode())
        state = json.dumps({"cluster": SECRET}).encode()
        await producer.send_and_wait(topics.state, state, key=other.encode(), partition=elsewhere)


# --- metrics ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "labels", "who"), [pytest.param(*row, id=f"{row[3]} tells {row[0]}") for row in TOLD]
)
async def test_a_metric_is_told_as_the_contract_has_it(told, name, kind, labels, who):
    found, samples = families(told.metrics[who])[name]
    used = {label for sample in samples for label in sample.labels} - {"le"}
    assert (kind, set(labels.split(",")) - {"-"}) == (found, used)


async def test_no_label_carries_who_or_which(told):
    told_of = {told.cluster_id, OWNER, "@", NAME, CONTROLLER_NAME, SECRET, "nobody"}
    values = {
        value
        for text in told.metrics.values()
        for _, samples in families(text).values()
        for sample in samples
        for value in sample.labels.values()
    }
    assert values
    assert [] == [value for value in values if any(part in value for part in told_of)]


async def test_a_path_is_a_route_and_never_what_was_asked_for(told):
    _, samples = families(told.metrics["web"])["clusterflow_http_requests_total"]
    paths = {sample.labels["path"] for sample in samples}
    assert {"/api/v1/clusters", "unmatched"} < paths
    assert len(paths) < 12


@pytest.mark.parametrize(("name", "labels", "least"), COUNTED)
async def test_the_worker_counts_what_it_does(told, name, labels, least):
    assert value_of(told.metrics["worker"], name, labels) >= least


# --- logs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROLES)
async def test_nothing_secret_is_told(told, name):
    assert len(told.logs[name]) > 1
    for line in [*told.logs[name], told.metrics[name]]:
        for secret in (SECRET, KEY, "postgresql://"):
            assert secret not in line


@pytest.mark.parametrize("name", ROLES)
async def test_a_line_is_an_object_with_its_members(told, name):
    for line in map(orjson.loads, told.logs[name]):
        assert {"ts", "level", "msg", "component", "service", "role"} <= line.keys()
        assert line["level"] in ("debug", "info", "warn", "error", "critical")
        assert not line["component"].startswith("clusterflow")


async def test_a_request_is_told_with_the_members_of_the_contract(told):
    requests = [line for line in map(orjson.loads, told.logs["web"]) if line["msg"] == "request"]
    first = next(line for line in requests if line["method"] == "POST" and line["status"] == 201)
    assert first["component"] == "api_server"
    assert {
        "method",
        "route",
        "status",
        "duration_ms",
        "client_ip",
        "user_agent",
        "body_size",
        "request_id",
    } <= set(first)
    assert (told.cluster_id, OWNER, "/api/v1/clusters") == (
        first["cluster_id"],
        first["user_email"],
        first["route"],
    )


async def test_an_identity_is_told_at_debug_alone(told, tmp_path):
    assert any(OWNER in line for line in told.logs["web"])
    assert not any(OWNER in line for line in told.logs["worker"] if orjson.loads(line)["level"] != "debug")


async def test_what_is_doubtful_is_told_at_the_start(told):
    warned = [line for line in map(orjson.loads, told.logs["web"]) if line["msg"] == "doubtful setting"]
    assert [("warn", "DISABLE_AUTH")] == [(line["level"], line["setting"]) for line in warned]
