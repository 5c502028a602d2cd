"""`python -m bench.throughput`: writes per second and their latencies with many clients, beside the echo.

As many echoes are in flight as connections write; both come out of a process of their own, so that neither
the load nor its bookkeeping shares an interpreter with anything measured. Web, worker, Kafka and the load
share the machine's cores all the same: the figures are those of a whole system on one machine.
"""

import argparse
import asyncio
import itertools
import multiprocessing
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import uvloop

from bench.echo import EchoClient, EchoServer, declare_echo_topics
from bench.figures import Spread, save, spread, table
from bench.roundtrip import OWNER, spec
from bench.stage import HOST, Stage, wait_ready
from bench.wire import AsyncConnection, request_bytes

Kind = Literal["echo", "PUT cluster", "POST cluster"]
KINDS: Final[Sequence[Kind]] = ("echo", "PUT cluster", "POST cluster")
SETTLE: Final = 0.5  # seconds at the start of each load that don't count


@dataclass(frozen=True, slots=True)
class Load:
    """What to do, how many at a time, for how long.

    Attributes:
        number: Of this load among all, so that no two create the same names.
    """

    kind: Kind
    in_flight: int
    seconds: float
    number: int
    port: int
    bootstrap_servers: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of some loads of a kind."""

    per_second: float
    spread: Spread


def generate(load: Load) -> list[float]:
    """Latencies in seconds; runs in the load process."""
    return uvloop.run(_echoes(load) if load.kind == "echo" else _writes(load))


async def _echoes(load: Load) -> list[float]:
    client = EchoClient(load.bootstrap_servers)
    await client.start()
    payload = request_bytes("PUT", "/", email=OWNER, body={"spec": spec(0)})
    try:
        return await _together(load, [lambda: client.echo(payload)] * load.in_flight)
    finally:
        await client.stop()


async def _writes(load: Load) -> list[float]:
    connections = [AsyncConnection(HOST, load.port) for _ in range(load.in_flight)]
    writers = [
        await _writer(connection, f"bench-{load.number}-{index}", load.kind)
        for index, connection in enumerate(connections)
    ]
    try:
        return await _together(load, writers)
    finally:
        for connection in connections:
            connection.close()


async def _writer(connection: AsyncConnection, name: str, kind: Kind) -> Callable[[], Awaitable[float]]:
    """What one connection does again and again: create clusters, or change the one it has created."""
    numbers = itertools.count()

    async def timed(method: str, path: str, body: object) -> tuple[float, str]:
        request = request_bytes(method, path, email=OWNER, body=body)
        started = time.perf_counter()
        answer = await connection.exchange(request)
        seconds = time.perf_counter() - started
        if answer.status not in (200, 201):
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.body[:500]!r}")
        return seconds, answer.json()["id"]

    async def create() -> tuple[float, str]:
        number = next(numbers)
        return await timed("POST", "/api/v1/clusters", {"name": f"{name}-{number}", "spec": spec(number)})

    async def post() -> float:
        return (await create())[0]

    if kind == "POST cluster":
        return post
    _, cluster_id = await create()

    async def put() -> float:
        return (await timed("PUT", f"/api/v1/clusters/{cluster_id}", {"spec": spec(next(numbers))}))[0]

    return put


async def _together(load: Load, works: Sequence[Callable[[], Awaitable[float]]]) -> list[float]:
    """Do each work again and again, all at the same time."""
    latencies: list[float] = []
    begin = time.perf_counter() + SETTLE
    end = begin + load.seconds

    async def repeat(work: Callable[[], Awaitable[float]]) -> None:
        while (now := time.perf_counter()) < end:
            latency = await work()
            if now >= begin:
                latencies.append(latency)

    await asyncio.gather(*(repeat(work) for work in works))
    return latencies


def measure(stage: Stage, port: int, *, in_flight: int, seconds: float, rounds: int) -> dict[Kind, Figures]:
    """All kinds in turn, several times."""
    latencies: dict[Kind, list[float]] = {kind: [] for kind in KINDS}
    numbers = itertools.count(in_flight * 1000)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        for _ in range(rounds):
            for kind in KINDS:
                load = Load(kind, in_flight, seconds, next(numbers), port, stage.bootstrap_servers)
                latencies[kind] += process.submit(generate, load).result()
    return {
        kind: Figures(per_second=len(values) / (seconds * rounds), spread=spread(values))
        for kind, values in latencies.items()
    }


HEADER: Final = ("in flight", "", "per second", "p50 ms", "p99 ms", "p50 / echo", "p99 / echo")


def rows(in_flight: int, figures: dict[Kind, Figures]) -> Iterator[Sequence[object]]:
    """The table's lines."""
    echo = figures["echo"].spread
    for kind, result in figures.items():
        p50, p99 = result.spread.p50, result.spread.p99
        yield in_flight, kind, round(result.per_second), p50, p99, p50 / echo.p50, p99 / echo.p99


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load (default: 4)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, nargs="*", default=[16, 64])
    arguments = parser.parse_args()
    lines: list[Sequence[object]] = []
    results = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, Stage(Path(directory)) as stage:
        web, worker = stage.start("web"), stage.start("worker")
        wait_ready(web, worker)
        asyncio.run(declare_echo_topics(stage.bootstrap_servers))
        with EchoServer(stage.bootstrap_servers):
            for in_flight in arguments.in_flight:
                figures = measure(
                    stage, web.port, in_flight=in_flight, seconds=arguments.seconds, rounds=arguments.rounds
                )
                lines += rows(in_flight, figures)
                results[in_flight] = {kind: asdict(result) for kind, result in figures.items()}
    print(table(HEADER, lines))
    print(save("throughput", {"figures": results}))


if __name__ == "__main__":
    main()
