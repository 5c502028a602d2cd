"""`python -m bench.ours BOOTSTRAP PARTITIONS`: the product without its rules, on the smallest job.

JSON in, one state update, one JSON record out: batches, turns, a typed table and the producer, everything
acknowledged in the order the product promises; the rules and messages of clusters are left out.
"""

import asyncio
import logging
import sys
from typing import Any, Final

import msgspec
import uvloop

from streams.settings import KafkaSettings
from streams.topics import Topics
from streams.turns.app import add_agent, create_app
from streams.turns.turn import Turn, take_turns
from streams.writing.outputs import Output
from tables.typed import TypedTable

INPUT: Final = "bench-ours-in"
OUTPUT: Final = "bench-ours-out"
STATE: Final = "bench-ours-state"


class Reading(msgspec.Struct):
    """What comes in."""

    value: int


class Sum(msgspec.Struct, frozen=True):
    """What is kept per key, and told."""

    count: int = 0
    total: int = 0


_reading = msgspec.json.Decoder(Reading)
_sum = msgspec.json.Decoder(Sum)


def add(turn: Turn[Sum], record: Any) -> None:
    """Count one reading in."""
    before = turn.get(record.partition, record.key) or Sum()
    after = Sum(before.count + 1, before.total + _reading.decode(record.value).value)
    turn.put(record.partition, record.key, after)
    turn.publish(Output(OUTPUT, record.key, msgspec.json.encode(after), partition=record.partition))


async def main(bootstrap_servers: str, partitions: str) -> None:
    """Run until killed."""
    logging.disable(logging.INFO)
    kafka = KafkaSettings(
        bootstrap_servers=bootstrap_servers,
        topics=Topics("bench-ours-"),
        partitions=int(partitions),
        replication=1,
    )
    app = create_app(kafka)
    await app.publisher.start()
    table = TypedTable[Sum](
        app,
        "sums",
        changelog_topic=STATE,
        partitions=kafka.partitions,
        decode=_sum.decode,
        encode=msgspec.json.encode,
    )

    async def run(stream: Any) -> None:
        async for turn in take_turns("sums", stream, table, app.publisher):
            for record in turn.records():
                add(turn, record)
            await turn.commit()

    add_agent(app, "sums", (INPUT,), run)
    app.finalize()
    await app.start()
    while not app.at_work:
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main(*sys.argv[1:]))
