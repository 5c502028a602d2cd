"""What the system says afterwards: its topics, answers and rows. Reads only; judging is `check`'s."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from bench.wire import Answer, AsyncConnection, request_bytes
from streams.topics import Topics
from tests.chaos.history import mark_of, marked_spec
from tests.chaos.records import POISON

CLAIM = b"@claim"
READER = "auditor@system.local"
PAGE = 100
PROBES = 20
PROBE_AGAIN = 0.5  # seconds


@dataclass(frozen=True, slots=True)
class EventFact:
    """One distinct public event, at the place of its first record."""

    id: str
    type: str
    cluster_id: str
    generation: int
    resource_version: str
    mark: str | None
    data: bytes


@dataclass(frozen=True, slots=True)
class StateFact:
    """The last record of one cluster on `cluster-state`; `reports` maps controllers to their marks."""

    revision: int
    generation: int
    resource_version: str
    owner: str
    name: str
    mark: str | None
    deleted: bool
    reports: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class ResultFact:
    """One distinct result of a command."""

    outcome: str
    code: str | None
    generation: int | None
    resource_version: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """A cluster as PostgreSQL has it."""

    generation: int
    resource_version: str
    mark: str | None
    deleted: bool
    reports: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Parked:
    """A dead letter: the topic it was meant for, why it is none there, and the key it came under."""

    topic: str
    reason: str
    key: str


@dataclass(frozen=True, slots=True)
class Held:
    """A live cluster as the table in a worker's memory has it."""

    generation: int
    resource_version: str


@dataclass(slots=True)
class Observed:
    """Everything there is to see once a run is over.

    Attributes:
        events: Per id. `repeated_events` counts further records with the same bytes.
        answered: Ids of the commands and reports that a state answers.
        faults: What is wrong in itself, whatever the clients say: two contents for one id, states that go
            back.
        parked: The dead letters.
        passed_over: Records of the changelog that a worker wrote after another had taken over.
        tables: What the workers hold in memory; None for a cluster they say is not there.
        answers: Per web process, the documents that GET gives.
        rows, event_rows: Of PostgreSQL; None if no sink ran.
    """

    events: dict[str, EventFact] = field(default_factory=dict)
    repeated_events: int = 0
    states: dict[str, StateFact] = field(default_factory=dict)
    results: dict[str, list[ResultFact]] = field(default_factory=dict)
    repeated_results: int = 0
    answered: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    passed_over: int = 0
    parked: list[Parked] = field(default_factory=list)
    tables: dict[str, Held | None] = field(default_factory=dict)
    answers: dict[str, dict[str, Mapping[str, Any]]] = field(default_factory=dict)
    rows: dict[str, Row] | None = None
    event_rows: dict[str, tuple[str, int]] | None = None


async def observe_topics(bootstrap_servers: str, topics: Topics, observed: Observed) -> None:
    """Read events, states, results and dead letters from their beginnings to where they end now."""
    async for record in all_records(bootstrap_servers, topics.events):
        note_event(record, observed)
    revisions: dict[str, tuple[int, bytes]] = {}
    standing: dict[int, int] = {}
    async for record in all_records(bootstrap_servers, topics.state):
        if counts(record, standing):
            note_state(record, observed, revisions)
        elif record.key != CLAIM:
            observed.passed_over += 1
    async for record in all_records(bootstrap_servers, topics.results):
        note_result(record, observed)
    for spec in topics.all():
        if spec.name.endswith(".dlq"):
            async for record in all_records(bootstrap_servers, spec.name):
                note_parked(record, observed)


def counts(record: ConsumerRecord, standing: dict[int, int]) -> bool:
    """Whether a record of a changelog counts: it is no claim, and was not written under one that is over.

    Asked here once more, apart from the product's own reading of claims.

    Args:
        standing: Per partition, the offset of the last claim; brought up to date.
    """
    if record.key == CLAIM:
        # One that came late, behind another's, lies elsewhere than its worker meant, and claims nothing.
        meant = msgspec.json.decode(record.value).get("offset") if record.value else None
        if meant in (None, record.offset):
            standing[record.partition] = record.offset
        return False
    return int(dict(record.headers).get("claim", b"-1")) >= standing.get(record.partition, -1)


def note_parked(record: ConsumerRecord, observed: Observed) -> None:
    """Take a dead letter into account."""
    headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    key = (record.key or b"").decode(errors="replace")
    observed.parked.append(Parked(headers.get("dlq_topic", "?"), headers.get("dlq_reason", "?"), key))


def _is_poison(record: ConsumerRecord) -> bool:
    return bool(record.key) and record.key.startswith(POISON.encode())


def note_event(record: ConsumerRecord, observed: Observed) -> None:
    """Take a record of `cluster-events` into account."""
    if _is_poison(record):
        return
    event = msgspec.json.decode(record.value)
    if not event["type"].startswith("cluster."):
        return
    known = observed.events.get(event["id"])
    if known is None:
        cluster = event["cluster"]
        observed.events[event["id"]] = EventFact(
            id=event["id"],
            type=event["type"],
            cluster_id=event["cluster_id"],
            generation=event["generation"],
            resource_version=cluster["resource_version"],
            mark=mark_of(cluster["spec"]),
            data=record.value,
        )
    elif known.data == record.value:
        observed.repeated_events += 1
    else:
        observed.faults.append(f"two contents for event {event['id']}: {known.data!r} and {record.value!r}")


def note_state(record: ConsumerRecord, observed: Observed, revisions: dict[str, tuple[int, bytes]]) -> None:
    """Take a record of `cluster-state` into account."""
    cluster_id = record.key.decode()
    if record.value is None:
        # Of a cluster that nobody knows it takes back what a worker wrote that had been replaced.
        if cluster_id in revisions:
            observed.faults.append(f"cluster {cluster_id} was purged, long before its time")
        return
    state = msgspec.json.decode(record.value)
    last, data = revisions.get(cluster_id, (0, b""))
    if state["revision"] < last:
        observed.faults.append(f"state of {cluster_id} went back from revision {last} to {state['revision']}")
    elif state["revision"] == last and record.value != data:
        observed.faults.append(
            f"two states of {cluster_id} at revision {last}: {data!r} and {record.value!r}"
        )
    revisions[cluster_id] = (state["revision"], record.value)
    _note_answers(record, observed)
    cluster = state["cluster"]
    observed.states[cluster_id] = StateFact(
        revision=state["revision"],
        generation=cluster["generation"],
        resource_version=cluster["resource_version"],
        owner=cluster["created_by"],
        name=cluster["name"],
        mark=mark_of(cluster["spec"]),
        deleted=state["deleted_at"] is not None,
        reports={name: report["metadata"].get("mark") for name, report in state["reports"].items()},
    )


def _note_answers(record: ConsumerRecord, observed: Observed) -> None:
    for name, value in record.headers:
        if name == "answers" and value is not None:
            if (answered := value.decode()) in observed.answered:
                observed.faults.append(f"two states answer {answered}")
            observed.answered.add(answered)


def note_result(record: ConsumerRecord, observed: Observed) -> None:
    """Take a record of `cluster-command-results` into account."""
    result = msgspec.json.decode(record.value)
    cluster = result.get("cluster") or {}
    fact = ResultFact(
        outcome=result["outcome"],
        code=result.get("code"),
        generation=cluster.get("generation"),
        resource_version=cluster.get("resource_version"),
    )
    facts = observed.results.setdefault(result["command_id"], [])
    if fact in facts:
        observed.repeated_results += 1
    else:
        facts.append(fact)


async def all_records(bootstrap_servers: str, topic: str) -> AsyncIterator[ConsumerRecord]:
    """Every record that is in a topic now, in order within each partition."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap_servers, group_id=None, auto_offset_reset="earliest"
    )
    async with consumer:
        partitions = list(consumer.assignment())
        ends = await consumer.end_offsets(partitions)
        await consumer.seek_to_beginning()
        left = {tp for tp in partitions if await consumer.position(tp) < ends[tp]}
        while left:
            for tp, records in (await consumer.getmany(timeout_ms=1000)).items():
                for record in records:
                    if record.offset < ends[tp]:
                        yield record
            left = {tp for tp in left if await consumer.position(tp) < ends[tp]}


async def observe_tables(host: str, port: int, ids: Iterable[str], observed: Observed) -> None:
    """Ask the workers what they hold, by updates to be refused: a refusal names what it compared with."""
    connection = AsyncConnection(host, port)
    for cluster_id in ids:
        body = {"spec": marked_spec("never"), "resource_version": "none has this"}
        path = f"/api/v1/clusters/{cluster_id}"
        answer = await _definite(connection, request_bytes("PUT", path, email=READER, body=body))
        code = answer.json().get("code")
        if code == "GENERATION_CONFLICT":
            details = answer.json()["details"]
            observed.tables[cluster_id] = Held(details["generation"], details["resource_version"])
        elif code == "RESOURCE_NOT_FOUND":
            observed.tables[cluster_id] = None
        else:
            observed.faults.append(f"a probe of {cluster_id} is answered {answer.status} {answer.body!r}")
    connection.close()


async def _definite(connection: AsyncConnection, request: bytes) -> Answer:
    """The answer, asked for again while it is 503: the last fault may be over for a second only."""
    for _ in range(PROBES - 1):
        answer = await connection.exchange(request)
        if answer.status != 503:
            return answer
        await asyncio.sleep(PROBE_AGAIN)
    return await connection.exchange(request)


async def observe_web(name: str, host: str, port: int, ids: Iterable[str], observed: Observed) -> None:
    """Ask a web process for every cluster, one by one and by list; both must say the same."""
    connection = AsyncConnection(host, port)
    single: dict[str, Mapping[str, Any]] = {}
    for cluster_id in ids:
        answer = await connection.exchange(
            request_bytes("GET", f"/api/v1/clusters/{cluster_id}", email=READER)
        )
        if answer.status == 200:
            single[cluster_id] = answer.json()
        elif answer.status != 404:
            observed.faults.append(f"{name}: GET {cluster_id} answers {answer.status}")
    listed = {cluster["id"]: cluster async for cluster in _listed(connection)}
    connection.close()
    for cluster_id in single.keys() | listed.keys():
        if single.get(cluster_id) != listed.get(cluster_id):
            observed.faults.append(f"{name}: GET and list differ on {cluster_id}")
    observed.answers[name] = single


async def _listed(connection: AsyncConnection) -> AsyncIterator[Mapping[str, Any]]:
    offset, total = 0, 1
    while offset < total:
        path = f"/api/v1/clusters?limit={PAGE}&offset={offset}"
        page = (await connection.exchange(request_bytes("GET", path, email=READER))).json()
        total = page["total"]
        offset += page["limit"]
        for cluster in page["clusters"]:
            yield cluster


async def observe_database(url: str, observed: Observed) -> None:
    """Read the sink's rows."""
    connection = await asyncpg.connect(url)
    try:
        reports: dict[str, dict[str, str | None]] = {}
        for report in await connection.fetch(
            "SELECT cluster_id, controller_name, metadata->>'mark' AS mark FROM controller_status"
        ):
            reports.setdefault(str(report["cluster_id"]), {})[report["controller_name"]] = report["mark"]
        observed.rows = {
            str(row["id"]): Row(
                generation=row["generation"],
                resource_version=row["resource_version"],
                mark=row["mark"],
                deleted=row["deleted_at"] is not None,
                reports=reports.get(str(row["id"]), {}),
            )
            for row in await connection.fetch(
                "SELECT id, generation, resource_version, deleted_at, spec->'bench'->>'mark' AS mark"
                " FROM clusters"
            )
        }
        observed.event_rows = {
            str(row["id"]): (row["event_type"], row["generation"])
            for row in await connection.fetch("SELECT id, event_type, generation FROM cluster_events")
        }
    finally:
        await connection.close()
