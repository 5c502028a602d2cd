"""Events, records and a handler whose Kafka is a list and whose clock doesn't wait."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from examples.controllers.contract import EVERY_EVENT, Backoff, Cluster, Done, Event, Outcome
from examples.controllers.handler import Controller, Handler, Headers
from examples.controllers.settings import Settings

CLUSTER_ID = "0b6e9f60-5f0d-4a58-9d8c-2f6f5b1c1c11"
EVENT_ID = "7a1c2f3e-0000-5000-8000-000000000001"
SETTINGS = Settings(bootstrap_servers="unused:9092", backoff=Backoff(first=10.0, longest=600.0, attempts=5))


def cluster(generation: int = 1, *, platform: str = "gcp", **spec: Any) -> Cluster:
    return Cluster(
        id=CLUSTER_ID, name="one", generation=generation, spec={"platform": {"type": platform}, **spec}
    )


def event(kind: str = "cluster.created", generation: int = 1, *, platform: str = "gcp") -> Event:
    return Event(
        id=EVENT_ID,
        type=kind,
        cluster_id=CLUSTER_ID,
        generation=generation,
        cluster=cluster(generation, platform=platform),
    )


@dataclass
class Consumed:
    """A record as aiokafka would hand it over."""

    value: bytes | None
    headers: Headers
    key: bytes | None = CLUSTER_ID.encode()
    topic: str = "cluster-events"
    partition: int = 3
    offset: int = 42


def record(of: Event) -> Consumed:
    """An event as Clusterflow sends it: the whole body, and headers to filter by."""
    headers = {"event_type": of.type, "platform": of.cluster.platform, "generation": str(of.generation)}
    return Consumed(msgspec.json.encode(of), [(name, value.encode()) for name, value in headers.items()])


@dataclass
class Sent:
    """One record that was sent."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: dict[str, str]

    @property
    def body(self) -> dict[str, Any]:
        assert self.value is not None
        body: dict[str, Any] = msgspec.json.decode(self.value)
        return body


@dataclass
class Kafka:
    """Remembers what was sent and how long was waited, in one order."""

    sent: list[Sent] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    async def send(self, topic: str, *, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        self.sent.append(Sent(topic, key, value, {name: text.decode() for name, text in headers}))

    async def wait(self, seconds: float) -> None:
        self.waits.append(seconds)

    @property
    def reports(self) -> list[dict[str, Any]]:
        return [sent.body for sent in self.sent if sent.topic == "cluster-status-reports"]

    @property
    def parked(self) -> list[Sent]:
        return [sent for sent in self.sent if sent.topic.endswith(".dlq")]


class Scripted(Controller):
    """Meets each event with the next step of a script: an outcome to return, or an exception to raise."""

    name = "scripted"
    platforms = frozenset({"gcp"})
    events = EVERY_EVENT

    def __init__(self, script: Sequence[Outcome | Exception] = ()) -> None:
        self.script = list(script)
        self.reconciled: list[int] = []
        self.torn_down: list[str] = []

    async def reconcile(self, cluster: Cluster) -> Outcome:
        self.reconciled.append(cluster.generation)
        return self._next()

    async def tear_down(self, cluster: Cluster) -> None:
        self.torn_down.append(cluster.name)
        self._next()

    def _next(self) -> Outcome:
        step = self.script.pop(0) if self.script else Done("done")
        if isinstance(step, Exception):
            raise step
        return step


def handler(controller: Controller, kafka: Kafka, settings: Settings = SETTINGS) -> Handler:
    return Handler(controller, settings, send=kafka.send, wait=kafka.wait)
