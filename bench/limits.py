"""`python -m bench.limits`: what a limit costs the requests of its route, and decisions through one worker.

Requests are refused once they were let through, so that nothing but the limit is in their way: a diagnosis of
no cluster, beside samples of no cluster, which are refused by a route without a limit. One client asks for
one after the other, in turn, of two web processes: an agent keeps the buckets of one, Valkey those of the
other.
"""

import argparse
import asyncio
import itertools
import tempfile
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from bench.bursts import Drained, declare, drain, until_counted
from bench.bursts import metric as metric_of
from bench.figures import Answer, Spread, rates, spread, tell
from bench.filled import PARTITIONS
from bench.peer import Peer
from bench.stage import HOST, RoleProcess, Stage, wait_ready
from bench.wire import Connection, request_bytes
from bench.worker import TOPIC, cpu_micros, null_drains, turns_of
from bench.writes import OWNER
from deploy.embedded.stack import Stack
from domain.bucket import Take
from domain.rates import key_of
from streams.bucket import FLOW
from streams.settings import KafkaSettings
from streams.writing.outputs import Output

LIMITED: Final = request_bytes("POST", "/api/v1/diagnosis/diagnose", email=OWNER, body={})
PLAIN: Final = request_bytes("POST", "/api/v1/metrics", email=OWNER, body={})
ENOUGH: Final = {"CLUSTERGENIE_DIAG_CAP": "1000000000", "CLUSTERGENIE_DIAG_RATE": "1000000"}
WARM_UP: Final = 50

BUCKETS: Final = 1000
"""As many callers ask at one time."""


def asked(web: RoleProcess, request: bytes, count: int) -> Spread:
    """How long requests take, one after the other."""
    took = []
    with Connection(HOST, web.port) as connection:
        for _ in range(count + WARM_UP):
            started = time.perf_counter()
            answer = connection.exchange(request)
            took.append(time.perf_counter() - started)
            assert answer.status == 400, answer
    return spread(took[WARM_UP:])


def cost(name: str, limited: list[Spread], plain: list[Spread], *, most: float | None) -> Answer:
    """What a limit adds to the median request, in milliseconds."""
    with_, without = (median(one.p50 for one in each) for each in (limited, plain))
    question = f"a limited request, buckets in {name}: what its limit adds, p50"
    return Answer(question, f"{with_:.2f} ms", f"{without:.2f} ms", with_ - without, most=most, unit="ms")


def takes(count: int, burst: int) -> list[Output]:
    """As many commands to take a token, of callers in turn."""
    return [
        FLOW.command(
            Take(
                id=key_of("bench", f"user:{number % BUCKETS}"),
                command_id=f"{burst}-{number}",
                name="bench",
                scope=f"user:{number % BUCKETS}",
                capacity=5.0,
                refill_rate=0.1,
            ),
            {},
        )
        for number in range(count)
    ]


def decided(
    kafka: KafkaSettings, worker: RoleProcess, null: Peer, given: argparse.Namespace
) -> tuple[list[Drained], list[Drained]]:
    """Bursts through the agent of buckets, and through an agent that does nothing, in turn."""
    taken: tuple[list[Drained], list[Drained]] = ([], [])
    turns = turns_of("bucket")
    for burst in range(given.pairs + 1):
        records = takes(given.count, burst)
        wanted = metric_of(worker, turns) + len(records)
        ours = drain(kafka, records, worker.pid, partial(until_counted, worker, turns, wanted))
        peer = null_drains(kafka, null, records)
        if burst:  # the first warms up
            for kept, one in zip(taken, (ours, peer), strict=True):
                kept.append(one)
    return taken


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=300, help="of each kind in a round (default: 300)")
    parser.add_argument("--count", type=int, default=10_000, help="records of a burst (default: 10000)")
    parser.add_argument("--pairs", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        settings = {"KAFKA_PARTITIONS": str(PARTITIONS), **ENOUGH}
        with Stage(directory, settings, stack=Stack(directory)) as stage:
            kafka = KafkaSettings(
                bootstrap_servers=stage.bootstrap_servers, partitions=PARTITIONS, replication=1
            )
            webs = {
                backend: stage.start("web", environment={"LIMITER_BACKEND": backend})
                for backend in ("table", "redis")
            }
            worker = stage.start("worker")
            asyncio.run(declare(kafka, TOPIC))
            wait_ready(*webs.values(), worker)
            spreads: dict[str, list[Spread]] = {}
            for _, (backend, web) in itertools.product(range(given.rounds), webs.items()):
                for kind, request in (("plain", PLAIN), ("limited", LIMITED)):
                    one = asked(web, request, given.requests)
                    spreads.setdefault(f"{backend} {kind}", []).append(one)
            with Peer("bench.null", stage.bootstrap_servers, TOPIC, "bench-null", given.count) as null:
                ours, peers = decided(kafka, worker, null, given)
    answers = [
        cost("redis", spreads["redis limited"], spreads["redis plain"], most=1.0),
        cost("table", spreads["table limited"], spreads["table plain"], most=None),
        rates(
            "decisions of buckets through one worker",
            [one.per_second for one in ours],
            [one.per_second for one in peers],
            peer="null agent",
            cpu_micros=cpu_micros(ours),
        ),
    ]
    figures = {kind: [asdict(one) for one in each] for kind, each in spreads.items()}
    tell("limits", answers, figures=figures)


if __name__ == "__main__":
    main()
