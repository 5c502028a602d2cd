"""Whether the recorder has stored what was announced of resources and tasks.

- Each record of a public topic has exactly one row, of its event's id, with its value, under its topic and
  trace, however often it was announced.
- There is no other row: none of a bad record, and none that nobody announced.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import asyncpg
from aiokafka import ConsumerRecord

from streams.flows import PUBLIC
from streams.headers import headers_of
from streams.topics import Topics
from streams.trace import trace_id
from tests.chaos.check import Finding
from tests.chaos.observe import all_records
from tests.chaos.records import POISON


class Recorded(NamedTuple):
    """What a row says, or must say."""

    event_type: str
    payload: Any
    trace_id: str | None


@dataclass(slots=True)
class SeenRecords:
    """What topics and PostgreSQL say once a run is over, by the id of the event.

    Attributes:
        announced: What good records say.
        rows: What PostgreSQL has; several of one id, if it had lost its key.
    """

    announced: dict[str, Recorded] = field(default_factory=dict)
    rows: list[tuple[str, Recorded]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


async def observe(bootstrap_servers: str, database_url: str, topics: Topics) -> SeenRecords:
    """Read the public topics to their ends, and all rows."""
    seen = SeenRecords()
    for name in PUBLIC:
        async for record in all_records(bootstrap_servers, topics.of(name)):
            if not (record.key or b"").startswith(POISON.encode()):
                _note(seen, name, record)
    connection = await asyncpg.connect(database_url)
    try:
        stored = await connection.fetch("SELECT id, event_type, payload, trace_id FROM processed_events")
    finally:
        await connection.close()
    seen.rows = [
        (str(row["id"]), Recorded(row["event_type"], json.loads(row["payload"]), row["trace_id"]))
        for row in stored
    ]
    return seen


def _note(seen: SeenRecords, name: str, record: ConsumerRecord) -> None:
    headers: Mapping[str, str] = headers_of(record)
    said = Recorded(name, json.loads(record.value), trace_id(headers) or None)
    known = seen.announced.setdefault(headers["event_id"], said)
    if known != said:
        seen.faults.append(f"two contents for event {headers['event_id']}: {known} and {said}")


def check_recorded(seen: SeenRecords) -> list[Finding]:
    """Everything that is wrong; empty when all is well."""
    return [*(Finding("wrong", text) for text in seen.faults), *_rows(seen)]


def _rows(seen: SeenRecords) -> Iterator[Finding]:
    found: dict[str, Recorded] = {}
    for id, row in seen.rows:
        if id in found:
            yield Finding("doubled", f"two rows of event {id}")
        found[id] = row
        if id not in seen.announced:
            yield Finding("wrong", f"a row of {row.event_type} {id}, which nobody has announced")
        elif row != seen.announced[id]:
            yield Finding("wrong", f"the row of {id} is {row}, and {seen.announced[id]} was announced")
    for id in seen.announced.keys() - found.keys():
        yield Finding("lost", f"no row of {seen.announced[id].event_type} {id}")
