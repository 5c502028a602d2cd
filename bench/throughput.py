"""`python -m bench.throughput`: writes per second with 64 clients, and how long each waits, beside the echo.

Closed loop for the rate: as many echoes are in flight as connections write, in turn, in short rounds. Then
open loop at half of each rate, where latency counts from the moment a request was due. Load comes out of
processes of its own, but web, worker, Kafka and the load share the machine's cores: the figures are those of
a whole system on one machine. The echo (`bench/echo.py`) has one partition, and neither state nor HTTP; with
one partition the product is measured as well, for information.
"""

import argparse
import asyncio
import contextlib
import itertools
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

import uvloop

from bench.echo import EchoClient, EchoServer, declare_echo_topics
from bench.figures import Answer, Spread, rates, spread, tell
from bench.filled import PARTITIONS, FilledStage
from bench.load import SETTLE, Load, run
from bench.stage import RoleProcess, wait_ready
from bench.writes import CLUSTER_KINDS, Kind, requests

CLUSTERS: Final = 1000

# Of the echo's rate at least, and milliseconds of p99 at half of the peak at most.
REACH: Final[Mapping[Kind, tuple[float, float]]] = {
    "PUT cluster": (0.20, 50.0),
    "PUT status": (0.20, 50.0),
    "POST cluster": (0.12, 80.0),
}


@dataclass(frozen=True, slots=True)
class Echoes:
    """So many echoes at a time for so long."""

    bootstrap_servers: str
    in_flight: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one load; `cpu_micros` is the processor time of web and worker for each write."""

    per_second: float
    spread: Spread
    cpu_micros: float = 0.0


def echoed(echoes: Echoes) -> Round:
    """Do them; runs in a process of its own."""
    return uvloop.run(_echoed(echoes))


async def _echoed(echoes: Echoes) -> Round:
    client = EchoClient(echoes.bootstrap_servers)
    await client.start()
    payload = requests("PUT cluster", 1)[0]
    latencies: list[float] = []
    begin = time.perf_counter() + SETTLE
    end = begin + echoes.seconds

    async def repeat() -> None:
        while (now := time.perf_counter()) < end:
            latency = await client.echo(payload)
            if now >= begin and now + latency <= end:
                latencies.append(latency)

    try:
        await asyncio.gather(*(repeat() for _ in range(echoes.in_flight)))
    finally:
        await client.stop()
    return Round(len(latencies) / echoes.seconds, spread(latencies))


@contextlib.contextmanager
def echoing(bootstrap_servers: str) -> Iterator[ProcessPoolExecutor]:
    """The echo on this Kafka while the block runs, and a process for its client."""
    asyncio.run(declare_echo_topics(bootstrap_servers))
    spawn = multiprocessing.get_context("spawn")
    with EchoServer(bootstrap_servers), ProcessPoolExecutor(1, mp_context=spawn) as client:
        yield client


class System:
    """Web and worker under load, and the echo on the same Kafka."""

    def __init__(
        self,
        web: RoleProcess,
        worker: RoleProcess,
        bootstrap_servers: str,
        in_flight: int,
        echo: ProcessPoolExecutor,
    ) -> None:
        self._port = web.port
        self._pids = (web.pid, worker.pid)
        self._bootstrap_servers = bootstrap_servers
        self._in_flight = in_flight
        self._echo = echo
        self._numbers = itertools.count(step=10_000_000)  # no two loads create the same names

    def echo(self, seconds: float) -> Round:
        """Echoes, as many at a time as there are clients."""
        echoes = Echoes(self._bootstrap_servers, self._in_flight, seconds)
        return self._echo.submit(echoed, echoes).result()

    def write(self, kind: Kind, seconds: float, rate: float | None = None) -> Round:
        """Writes of a kind."""
        loaded = run(
            Load(
                self._port,
                requests(kind, CLUSTERS),
                seconds,
                connections=self._in_flight,
                rate=rate,
                first=next(self._numbers),
            ),
            *self._pids,
        )
        return Round(loaded.per_second, loaded.spread, loaded.cpu_micros)


def closed(system: System, kinds: Sequence[Kind], *, rounds: int, seconds: float) -> dict[str, list[Round]]:
    """All kinds and the echo in turn, several times, after a warm-up."""
    figures: dict[str, list[Round]] = {kind: [] for kind in ("echo", *kinds)}
    for number in range(-1, rounds):
        for kind in kinds:
            measured = system.write(kind, seconds)
            if number >= 0:
                figures[kind].append(measured)
        measured = system.echo(seconds)
        if number >= 0:
            figures["echo"].append(measured)
    return figures


def closed_answers(
    figures: Mapping[str, Sequence[Round]], in_flight: int, *, partitions: int
) -> Iterator[Answer]:
    """The rates beside the echo's."""
    echo = [one.per_second for one in figures["echo"]]
    judged = partitions == PARTITIONS
    for kind in CLUSTER_KINDS:
        yield rates(
            f"{kind}, {in_flight} connections" + ("" if judged else f", {partitions} partition"),
            [one.per_second for one in figures[kind]],
            echo,
            peer="echo",
            least=REACH[kind][0] if judged else None,
        )


def opened(
    system: System, figures: Mapping[str, Sequence[Round]], *, rounds: int, seconds: float
) -> Iterator[tuple[Answer, Mapping[str, object]]]:
    """Latencies at half of the rates."""
    for kind in CLUSTER_KINDS:
        rate = median(one.per_second for one in figures[kind]) / 2
        taken = [system.write(kind, seconds, rate) for _ in range(rounds)]
        tail, middle = (median(getattr(one.spread, rank) for one in taken) for rank in ("p99", "p50"))
        question = f"{kind}, p99 at half of that"
        text = f"{rate:,.0f}/s due, p50 {middle:.1f} ms"
        figure = {"kind": kind, "rate": rate, "rounds": [asdict(one) for one in taken]}
        yield Answer(question, text, "", tail, most=REACH[kind][1], unit="ms"), figure


def measure(partitions: int, given: argparse.Namespace) -> tuple[list[Answer], Mapping[str, object]]:
    """One stage with so many partitions; open loops with the default number only."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        FilledStage(Path(directory), CLUSTERS, partitions=partitions) as stage,
    ):
        web, worker = stage.start("web"), stage.start("worker")
        wait_ready(web, worker)
        with echoing(stage.bootstrap_servers) as echo:
            system = System(web, worker, stage.bootstrap_servers, given.in_flight, echo)
            figures = closed(system, CLUSTER_KINDS, rounds=given.rounds, seconds=given.seconds)
            answers = list(closed_answers(figures, given.in_flight, partitions=partitions))
            kept: dict[str, object] = {
                "closed": {kind: [asdict(one) for one in rounds] for kind, rounds in figures.items()}
            }
            if partitions == PARTITIONS:
                open_ = list(opened(system, figures, rounds=2, seconds=2 * given.seconds))
                answers += [answer for answer, _ in open_]
                kept["open"] = [figure for _, figure in open_]
            return answers, kept


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each load (default: 1.5)")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--partitions", type=int, nargs="*", default=[PARTITIONS, 1])
    given = parser.parse_args()
    answers: list[Answer] = []
    figures = {}
    for partitions in given.partitions:
        told, figures[partitions] = measure(partitions, given)
        answers += told
    tell("throughput", answers, figures=figures)


if __name__ == "__main__":
    main()
