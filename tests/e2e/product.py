"""The product as its users meet it: REST on a real port, records on real topics; roles run as tasks here.

A `Deployment` has topics of its own; it starts workers and web processes and ends them. A `Client` speaks
REST as one identity. `Log` reads and writes a topic as any Kafka client would, apart from the product's code.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.partitioner import murmur2

import agents.worker
import executors.role
import outbox.role
import rpc.server
import web.server
from agents.worker import WorkerSettings
from database import DatabaseSettings
from deploy.embedded import ports
from domain.policy import Policy
from domain.rates import Rate
from executors.handlers import Handler
from executors.settings import ExecutorSettings
from outbox.settings import RelaySettings
from rpc.settings import RpcSettings
from streams.flows import SIMPLE_FLOWS
from streams.settings import KafkaSettings
from tests.conftest import until
from web.limits import Default, LimiterSettings
from web.settings import WebSettings

CONTROLLER = "controller@system.local"
RAW_HOST = "x"  # the `Host` of requests that tests write by hand
SPEC: Mapping[str, Any] = {"platform": {"type": "gcp"}}
ENOUGH = Rate(capacity=1e6, refill_rate=1e6)
UNLIMITED = LimiterSettings(
    defaults={name: Default(rate=ENOUGH, scope_type="global") for name in LimiterSettings().defaults}
)
LONG_AGO = timedelta(days=365)  # a tick interval at which no test sees a second tick

_owners = count(1)


def an_owner() -> str:
    """An identity that no other test uses, so that lists and names are a test's own."""
    return f"owner{next(_owners)}@example.com"


def free_port() -> int:
    """A port that nobody listens on, apart from those the embedded servers choose from."""
    return ports.free_port()


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, read completely."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __getitem__(self, member: str) -> Any:
        return self.json[member]


@dataclass
class Client:
    """REST as one identity; None sends no identity."""

    url: str
    session: aiohttp.ClientSession
    email: str | None

    def as_(self, email: str | None) -> "Client":
        return replace(self, email=email)

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Answer:
        sent = {**({"X-User-Email": self.email} if self.email is not None else {}), **(headers or {})}
        data = body if body is None or isinstance(body, bytes | AsyncIterator) else json.dumps(body).encode()
        path = path if path.startswith("/") else f"/api/v1/clusters/{path}"
        async with self.session.request(
            method, self.url + path, data=data, headers=sent, allow_redirects=False, **options
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def create(self, name: str, spec: Mapping[str, Any] = SPEC, **members: Any) -> Answer:
        return await self.request("POST", "/api/v1/clusters", {"name": name, "spec": spec, **members})

    async def created(self, name: str = "one", spec: Mapping[str, Any] = SPEC) -> dict[str, Any]:
        """A new cluster, as the answer showed it."""
        answer = await self.create(name, spec)
        assert answer.status == 201, answer
        cluster: dict[str, Any] = answer.json
        return cluster

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.request("GET", path, **options)

    async def update(
        self, cluster_id: str, spec: Mapping[str, Any] = SPEC, *, if_match: str | None = None, **members: Any
    ) -> Answer:
        headers = {} if if_match is None else {"If-Match": if_match}
        return await self.request("PUT", cluster_id, {"spec": spec, **members}, headers=headers)

    async def delete(self, cluster_id: str, *, force: bool = False) -> Answer:
        return await self.request("DELETE", f"{cluster_id}{'?force=true' if force else ''}")

    async def list(self, query: str = "") -> Answer:
        return await self.get(f"/api/v1/clusters{query}")

    async def report(self, cluster_id: str, /, **members: Any) -> Answer:
        """PUT status as a controller, whoever this client is."""
        body = {"controller_name": "dns", "observed_generation": 1, **members}
        return await self.as_(CONTROLLER).request("PUT", f"{cluster_id}/status", body)


def available(status: str = "True", **members: Any) -> list[dict[str, Any]]:
    return [{"type": "Available", "status": status, **members}]


class Tap:
    """Follows all topics of a deployment as a bystander and keeps what it sees, for `Log` to look at."""

    def __init__(self, bootstrap_servers: str, places: list[TopicPartition]) -> None:
        self._places = places
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=16 * 1024 * 1024,
            fetch_max_wait_ms=100,
        )
        self._seen: dict[TopicPartition, list[ConsumerRecord]] = {place: [] for place in places}
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._following is None:
            self._following = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        await self._consumer.start()
        self._consumer.assign(self._places)
        while True:
            for place, records in (await self._consumer.getmany(timeout_ms=1000)).items():
                self._seen[place] += records

    async def stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await self._consumer.stop()

    async def read(self, topic: str) -> list[ConsumerRecord]:
        """All records that are in a topic now, in the order of their times."""
        await self.start()
        places = [place for place in self._places if place.topic == topic]

        async def caught_up() -> bool:
            assigned = self._consumer.assignment()
            return bool(assigned) and all([await self._consumer.position(p) >= ends[p] for p in places])

        async def assigned() -> bool:
            assert self._following is not None
            if self._following.done():
                self._following.result()
            return bool(self._consumer.assignment())

        await until(assigned, what="the bystander's start")
        ends = await self._consumer.end_offsets(places)
        while not await caught_up():
            await asyncio.sleep(0.005)
        await asyncio.sleep(0)  # what the last poll brought is kept by now
        records = [record for place in places for record in self._seen[place]]
        return sorted(records, key=lambda r: (r.timestamp, r.partition, r.offset))


@dataclass
class Log:
    """One topic, to read and to write as any Kafka client does."""

    bootstrap_servers: str
    topic: str
    partitions: int
    tap: Tap

    async def publish(
        self,
        key: bytes | str | None,
        value: Any,
        *,
        headers: Mapping[str, str | bytes] | None = None,
        partition: int | None = None,
    ) -> tuple[int, int]:
        """Publish; returns partition and offset. Text and bytes go as they are, anything else as JSON."""
        ((place, offset),) = await self.publish_all([(key, value)], headers=headers, partition=partition)
        return place, offset

    async def publish_all(
        self,
        records: list[tuple[bytes | str | None, Any]],
        *,
        headers: Mapping[str, str | bytes] | None = None,
        partition: int | None = None,
        **settings: Any,
    ) -> list[tuple[int, int]]:
        pairs = [(n, v if isinstance(v, bytes) else v.encode()) for n, v in (headers or {}).items()]
        async with AIOKafkaProducer(
            **{"bootstrap_servers": self.bootstrap_servers, "max_request_size": 10**8, **settings}
        ) as producer:
            pending = [
                await producer.send(
                    self.topic, key=_bytes(key), value=_bytes(value), headers=pairs, partition=partition
                )
                for key, value in records
            ]
            return [(m.partition, m.offset) for m in await asyncio.gather(*pending)]

    async def read(self) -> list[ConsumerRecord]:
        """All records that are in the topic now."""
        return await self.tap.read(self.topic)

    async def of(self, key: str) -> list[ConsumerRecord]:
        """The records of one key."""
        return [record for record in await self.read() if record.key == key.encode()]

    async def bodies(self, key: str) -> list[dict[str, Any]]:
        """The JSON of one key's records."""
        return [json.loads(record.value) for record in await self.of(key)]

    async def wait_for(
        self, key: str, fits: Callable[[dict[str, Any]], bool] = lambda body: True, *, within: float = 20.0
    ) -> dict[str, Any]:
        """The first record of a key whose JSON fits."""

        async def found() -> dict[str, Any] | None:
            return next((body for body in await self.bodies(key) if fits(body)), None)

        body = await until(found, within=within, what=f"a record of {key} in {self.topic}")
        assert body is not None
        return body

    def place_of(self, key: str) -> int:
        """Where a client of Kafka's own hash puts a key."""
        return int((murmur2(key.encode()) & 0x7FFFFFFF) % self.partitions)


def _bytes(value: Any) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value)).encode()


def headers_of(record: ConsumerRecord) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


@dataclass
class Role:
    """A role that runs as a task here."""

    task: asyncio.Task[None]
    stop: asyncio.Event
    ready: Callable[[], bool]

    async def end(self) -> None:
        """Stop it gracefully. Raises what it ended with."""
        self.stop.set()
        await asyncio.wait({self.task}, timeout=40)
        assert self.task.done(), "the role did not stop within 40 s"
        self.task.result()


class Deployment:
    """Topics of one prefix, and the roles started on them."""

    def __init__(self, kafka: KafkaSettings, *, policy: Policy | None = None) -> None:
        self.kafka = kafka
        self.policy = policy or Policy()
        self._stack = AsyncExitStack()
        places = [
            TopicPartition(spec.name, partition)
            for spec in kafka.topics.all()
            for partition in range(kafka.partitions_of(spec))
        ]
        self._tap = Tap(kafka.bootstrap_servers, places)

    async def __aenter__(self) -> "Deployment":
        self._stack.push_async_callback(self._tap.stop)
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    async def worker(self, *, tick_interval: timedelta = LONG_AGO, **settings: Any) -> Role:
        """A worker, at work."""
        worker = WorkerSettings(kafka=self.kafka, policy=self.policy, tick_interval=tick_interval, **settings)
        return await self._run(lambda stop, ready: agents.worker.run(worker, stop=stop, ready=ready))

    async def executor(self, handlers: Mapping[str, Handler] | None = None, **settings: Any) -> Role:
        """An executor, at work."""
        executor = ExecutorSettings(
            kafka=self.kafka,
            policy=self.policy,
            handlers=handlers or {},
            **settings,
        )
        return await self._run(lambda stop, ready: executors.role.run(executor, stop=stop, ready=ready))

    async def relay(self, *database_urls: str, **settings: Any) -> Role:
        """A relay of these databases, at work."""
        relay = RelaySettings(
            **{
                "kafka": self.kafka,
                "databases": [DatabaseSettings(url=url) for url in database_urls],
                "policy": self.policy,
                "allowed": [type for flow in SIMPLE_FLOWS for type in flow.public],
                **settings,
            }
        )
        return await self._run(lambda stop, ready: outbox.role.run(relay, stop=stop, ready=ready))

    async def grpc(self, **settings: Any) -> tuple[str, Role]:
        """The address of a process that serves gRPC, at work, and its role."""
        port = free_port()
        served = RpcSettings(**{"kafka": self.kafka, "policy": self.policy, "port": port, **settings})
        role = await self._run(lambda stop, ready: rpc.server.run(served, stop=stop, ready=ready))
        return f"127.0.0.1:{port}", role

    async def web(self, email: str | None = None, **settings: Any) -> Client:
        """A web process, ready to serve; as a client of it."""
        client, _ = await self.web_role(email, **settings)
        return client

    async def web_role(self, email: str | None = None, **settings: Any) -> tuple[Client, Role]:
        """A web process and its role."""
        port = free_port()
        ours = {
            "kafka": self.kafka,
            "policy": self.policy,
            "port": port,
            "allowed_hosts": (RAW_HOST,),
            "limiter": UNLIMITED,
        }
        web_settings = WebSettings(**{**ours, **settings})
        role = await self._run(lambda stop, ready: web.server.run(web_settings, stop=stop, ready=ready))
        timeout = aiohttp.ClientTimeout(total=60)
        session = await self._stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        return Client(f"http://127.0.0.1:{port}", session, email), role

    def log(self, topic: str) -> Log:
        """One of the topics, by its name without prefix."""
        name = self.kafka.topics.prefix + topic
        spec = next(spec for spec in self.kafka.topics.all() if spec.name == name)
        return Log(self.kafka.bootstrap_servers, name, self.kafka.partitions_of(spec), self._tap)

    async def _run(
        self, run: Callable[[asyncio.Event, Callable[[Callable[[], bool]], None]], Awaitable[None]]
    ) -> Role:
        stop, asked = asyncio.Event(), []
        task = asyncio.ensure_future(run(stop, asked.append))
        role = Role(task, stop, lambda: bool(asked) and asked[-1]())  # type: ignore[arg-type]
        self._stack.push_async_callback(_ended, role)

        async def is_ready() -> bool:
            if task.done():
                task.result()
            return role.ready()

        await until(is_ready, within=60, what="readiness")
        return role


async def _ended(role: Role) -> None:
    if not role.task.done():
        await role.end()


async def committed(kafka: KafkaSettings, group: str = "clusterflow") -> dict[tuple[str, int], int]:
    """The committed offsets of a consumer group, by topic and partition."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(kafka.topics.prefix + group)
        return {tuple(place): position.offset for place, position in offsets.items()}
    finally:
        await admin.close()


# --- what Kafka clients send --------------------------------------------------------------------------


def command(kind: str, cluster_id: str, by: str, **members: Any) -> dict[str, Any]:
    """A Kafka-native command; a member given as ... is left out."""
    body = {
        "command_id": str(uuid4()),
        "type": f"cluster.{kind}",
        "cluster_id": cluster_id,
        "user_email": by,
        "issued_at": "2026-01-01T00:00:00Z",
        **members,
    }
    return {name: value for name, value in body.items() if value is not ...}


def report(cluster_id: str, **members: Any) -> dict[str, Any]:
    """A Kafka-native status report; a member given as ... is left out."""
    body = {"cluster_id": cluster_id, "controller_name": "dns", "observed_generation": 1, **members}
    return {name: value for name, value in body.items() if value is not ...}
