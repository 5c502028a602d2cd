"""`python -m bench.sink`: PostgreSQL takes over 200 000 changes, beside COPY of the same rows.

The sink starts on a full topic and an empty database; it is timed from its first stored positions until the
last, so neither its start nor that of its group counts. Then COPY (binary, one connection) writes the rows
that it has written, three tables, into tables made like them with their indexes. COPY leaves out foreign
keys, decoding, comparing with what is stored, and positions.
"""

import argparse
import asyncio
import io
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

import asyncpg

from bench.figures import Answer, tell
from bench.filled import FilledStage

TABLES: Final = ("clusters", "controller_status", "reconciliation_schedule")
DRAINED_WITHIN: Final = 300.0  # seconds
COPIES: Final = 3


async def drained(connection: "asyncpg.Connection[asyncpg.Record]", wanted: int) -> tuple[int, float]:
    """Rows and seconds from the first look that found any to the one that found all. Raises: TimeoutError."""
    first: tuple[int, float] | None = None
    async with asyncio.timeout(DRAINED_WITHIN):
        while True:
            count = await connection.fetchval("SELECT count(*) FROM clusters")
            now = time.monotonic()
            if first is None and count:
                first = count, now
            if count >= wanted:
                assert first is not None
                return count - first[0], now - first[1]
            await asyncio.sleep(0.1)


async def copied(connection: "asyncpg.Connection[asyncpg.Record]", tables: Sequence[str]) -> float:
    """Seconds that COPY takes for the rows of these tables."""
    seconds = 0.0
    for name in tables:
        rows = io.BytesIO()
        await connection.copy_from_table(name, output=rows, format="binary")
        rows.seek(0)
        await connection.execute(f"CREATE TABLE bench_copy (LIKE {name} INCLUDING ALL)")
        try:
            started = time.monotonic()
            await connection.copy_to_table("bench_copy", source=rows, format="binary")
            seconds += time.monotonic() - started
        finally:
            await connection.execute("DROP TABLE bench_copy")
    return seconds


@dataclass(frozen=True, slots=True)
class Figures:
    """Rows and seconds of the sink, and seconds of each COPY of all."""

    rows: int
    seconds: float
    copies: list[float]


async def measure(stage: FilledStage, clusters: int) -> Figures:
    """Let the sink drain, then copy."""
    connection = await asyncpg.connect(stage.database_url)
    try:
        sink = stage.start("sink")
        rows, seconds = await drained(connection, clusters)
        sink.stop()
        copies = [await copied(connection, TABLES) for _ in range(COPIES)]
    finally:
        await connection.close()
    return Figures(rows, seconds, copies)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=200_000, help="and as many changes")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        FilledStage(Path(directory), given.clusters) as stage,
    ):
        figures = asyncio.run(measure(stage, given.clusters))
    ours = figures.rows / figures.seconds
    peer = given.clusters / median(figures.copies)
    answer = Answer(
        f"PostgreSQL sink draining {given.clusters:,} changes",
        f"{ours:,.0f} changes/s",
        f"COPY {peer:,.0f}/s",
        ours / peer,
        least=0.25,
    )
    tell("sink", [answer], clusters=given.clusters, figures=asdict(figures))


if __name__ == "__main__":
    main()
