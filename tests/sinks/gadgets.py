"""A kind that is nobody's, with one table, to try the mechanism on."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from domain.entity import Command, Kind, VersionedEntity
from domain.values import Struct, field
from sinks.mapping import columns_of
from sinks.table import Json, Table
from streams.claims import claim_output, under
from streams.flow import Flow
from streams.json import encode
from streams.settings import KafkaSettings
from streams.topics import Topics
from tests.sinks.conftest import World
from tests.sinks.given import T0, after


class Gadget(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    status: Literal["on", "off"] = "on"
    labels: Mapping[str, Any] = field(default_factory=dict)
    note: Mapping[str, Any] | None = None
    weight: float | None = None
    made_at: datetime


class GadgetState(VersionedEntity, frozen=True, kw_only=True):
    gadget: Gadget
    attempts: int = 0


class Make(Command, frozen=True, kw_only=True, tag="gadget.make"):
    name: str


class GadgetRow(NamedTuple):
    id: str
    name: str
    status: str
    labels: Json
    note: Json | None
    weight: float | None
    made_at: datetime
    attempts: int
    version: int


class HistoryRow(NamedTuple):
    id: str
    name: str
    made_at: datetime
    deleted_at: datetime | None
    version: int


def refuse(*args: Any) -> Any:
    """No test here decides."""
    raise NotImplementedError


FLOW = Flow(
    kind=Kind(name="gadget", state=GadgetState, decide=refuse, evolve=refuse),
    messages=Make,
    commands="gadget.commands",
    state="gadget-state",
    shown="gadget",
)

GADGETS = Table(flow=FLOW, name="gadgets", row=GadgetRow)
HISTORY = Table(flow=FLOW, name="gadget_history", row=HistoryRow, keeps=True)

CREATE = """
CREATE TABLE gadgets (
    id       varchar(100) PRIMARY KEY,
    name     varchar(20)      NOT NULL,
    status   varchar(10)      NOT NULL,
    labels   jsonb            NOT NULL,
    note     jsonb,
    weight   double precision,
    made_at  timestamptz      NOT NULL,
    attempts bigint           NOT NULL,
    version  bigint           NOT NULL
);
CREATE TABLE gadget_history (
    id         varchar(100) PRIMARY KEY,
    name       varchar(20) NOT NULL,
    made_at    timestamptz NOT NULL,
    deleted_at timestamptz,
    version    bigint      NOT NULL
);
"""


def gadget(id: str = "one", *, version: int = 1, deleted: bool = False, **members: Any) -> GadgetState:
    """The state of a gadget."""
    attempts = members.pop("attempts", 0)
    return GadgetState(
        revision=version,
        version=version,
        offsets={"gadget.commands": 7},
        recent=("a command",),
        deleted_at=after(9) if deleted else None,
        gadget=Gadget(id=id, made_at=T0, **{"name": f"g {id}", **members}),
        attempts=attempts,
    )


def row_of(state: GadgetState) -> tuple[Any, ...]:
    """The row that a state must have, reached without the mapping."""
    shown = state.gadget
    values = (shown.id, shown.name, shown.status, dict(shown.labels), shown.note, shown.weight, T0)
    return (*values, state.attempts, state.version)


async def declare(kafka: KafkaSettings) -> None:
    """Create the topics of gadgets."""
    admin = AIOKafkaAdminClient(**kafka.client("test"))
    await admin.start()
    try:
        topic = kafka.topics.prefix + FLOW.state
        counts = {topic: kafka.partitions, Topics.dead_letters(topic): 1}
        await admin.create_topics(
            [NewTopic(name, count, kafka.replication) for name, count in counts.items()]
        )
    finally:
        await admin.close()


class Gadgets:
    """What goes into the changelog of gadgets, and what comes out as rows."""

    def __init__(self, world: World, table: Table[GadgetState]) -> None:
        self.world, self.table = world, table
        self.topic = world.topics.prefix + FLOW.state

    async def publish(self, *states: GadgetState) -> None:
        await self.send(*((state.gadget.id.encode(), encode(state)) for state in states))

    async def purge(self, *ids: str) -> None:
        await self.send(*((id.encode(), None) for id in ids))

    async def send(self, *records: tuple[bytes | None, bytes | None]) -> None:
        await self.world.send(self.topic, records)

    async def claim(self, partition: int) -> int:
        """Claim a partition as a worker does that takes it over; returns the claim."""
        output = claim_output(self.topic, partition, "worker")
        return await self._stored(output.key, output.value, partition, {})

    async def publish_under(self, claim: int, partition: int, *states: GadgetState) -> None:
        for state in states:
            await self._stored(state.gadget.id.encode(), encode(state), partition, under(claim))

    async def _stored(self, key: Any, value: Any, partition: int, headers: Mapping[str, str]) -> int:
        sent = [(name, text.encode()) for name, text in headers.items()]
        stored = await self.world._producer.send_and_wait(
            self.topic, value, key=key, partition=partition, headers=sent
        )
        return int(stored.offset)

    async def insert(self, *states: GadgetState) -> None:
        """Rows that no record stands for."""
        table = self.table
        rows = [table.row_of(table.decode(encode(state))) for state in states]
        async with self.world.connection() as connection:
            await connection.execute(table.upsert, *columns_of(rows))

    async def rows(self) -> list[dict[str, Any]]:
        return await self.world.fetch(f"SELECT * FROM {self.table.name} ORDER BY id")

    async def values(self) -> list[tuple[Any, ...]]:
        """The rows as `row_of` has them."""
        async with self.world.connection() as connection:
            rows = await connection.fetch(f"SELECT * FROM {self.table.name} ORDER BY id")
        return [tuple(_plain(value) for value in row.values()) for row in rows]


def _plain(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value[:1] == "{" else value
