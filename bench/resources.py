"""`python -m bench.resources`: what resources cost, which are a simple kind; writes, reads, and their events.

Writes beside the echo (`bench/echo.py`) and reads beside a bare handler (`bench/bare.py`), both in turn as
`bench.throughput` and `bench.reads` do it for clusters, with the processor time of our processes beside the
rate. A read of one resource shows every write that any process has answered: it asks the broker where its
partition ends, and waits until web has handled what is before that. So it costs more than a read of a
cluster; a list may lag, and does not ask. The resources are created by commands on Kafka. The last load is
updates at a fixed rate, whose events a consumer follows.
"""

import argparse
import asyncio
import random
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Final

from bench.bursts import DRAINED_WITHIN, LOOK, publish
from bench.events import Followed, Follower, consume, event_answers
from bench.figures import Answer, median_ratio, rates, spread, tell
from bench.filled import PARTITIONS
from bench.fleet import resource_id
from bench.load import Load, run
from bench.peer import Peer
from bench.reads import Reading, bodies
from bench.records import STATUSES, resource_writes
from bench.stage import HOST, RoleProcess, Stage, wait_ready
from bench.throughput import CLUSTERS as UPDATABLE
from bench.throughput import Round, System, closed, echoing
from bench.wire import Connection, request_bytes
from bench.writes import OWNER, RESOURCE_KINDS, requests
from streams.settings import KafkaSettings

PATH: Final = "/api/v1/resources"
IN_FLIGHT: Final = 64
LAST: Final = 200  # resources, some of which are the last ones of each partition
UPDATED: Final = "resource.updated"
SENT: Final = re.compile(rb"sent at ([0-9]{16})")  # as `bench.writes.resource` says it

ONE: Final = "GET one resource"
PAGES: Final[Mapping[str, str]] = {
    "list page of 100 resources": PATH,
    "list page of 50 resources, filtered": f"{PATH}?limit=50&status={STATUSES[0]}",
}


def requests_one(resources: int, chosen: random.Random) -> list[bytes]:
    """GETs of many resources, so that no cache of anything helps."""
    numbers = chosen.sample(range(resources), min(resources, 5000))
    return [request_bytes("GET", f"{PATH}/{resource_id(number)}", email=OWNER) for number in numbers]


def create(kafka: KafkaSettings, web: RoleProcess, count: int) -> None:
    """Create resources by commands on Kafka, and wait until web shows them. Raises: TimeoutError."""
    asyncio.run(publish(kafka, resource_writes(count, burst=0)))
    deadline = time.monotonic() + DRAINED_WITHIN
    with Connection(HOST, web.port) as connection:
        for number in range(count - LAST, count):
            request = request_bytes("GET", f"{PATH}/{resource_id(number)}", email=OWNER)
            while (answer := connection.exchange(request)).status != 200:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"resource {number}: {answer.status} {answer.body[:500]!r}")
                time.sleep(LOOK)


def reads(web: RoleProcess, directory: Path, given: argparse.Namespace) -> tuple[list[Answer], object]:
    """GET one and both pages, beside the bare handler."""
    kinds = {
        ONE: requests_one(given.resources, random.Random(given.seed)),
        **{name: [request_bytes("GET", path, email=OWNER)] for name, path in PAGES.items()},
    }
    answers, figures = [], {}
    with Peer("bench.bare", *bodies(web.port, [*kinds.values()], directory)) as bare:
        for (name, wanted), port in zip(kinds.items(), map(int, bare.introduced), strict=True):
            reading = Reading(name, wanted, web.port, port, web.pid)
            reading.pair(0.5)  # connections, orders of lists, compiled code
            pairs = [reading.pair(given.seconds) for _ in range(given.rounds)]
            ours, peers = ([pair[side].per_second for pair in pairs] for side in (0, 1))
            cost = median(one.cpu_micros for one, _ in pairs)
            question = f"{name}, {IN_FLIGHT} connections"
            answers.append(rates(question, ours, peers, cpu_micros=cost))
            figures[name] = {"ours": ours, "peer": peers, "cpu_micros": [one.cpu_micros for one, _ in pairs]}
    return answers, figures


def writes(
    web: RoleProcess, worker: RoleProcess, bootstrap_servers: str, given: argparse.Namespace
) -> tuple[list[Answer], object]:
    """Both kinds of write beside the echo, by many clients and by one."""
    with echoing(bootstrap_servers) as echo:
        many, one = (
            closed(
                System(web, worker, bootstrap_servers, in_flight, echo),
                RESOURCE_KINDS,
                rounds=given.rounds,
                seconds=given.seconds,
            )
            for in_flight in (IN_FLIGHT, 1)
        )
    figures = {
        in_flight: {kind: [asdict(one) for one in rounds] for kind, rounds in taken.items()}
        for in_flight, taken in ((IN_FLIGHT, many), (1, one))
    }
    return [*rate_answers(many), *wait_answers(one)], figures


def rate_answers(taken: Mapping[str, Sequence[Round]]) -> Iterator[Answer]:
    """The rates of many clients beside the echo's."""
    for kind in RESOURCE_KINDS:
        yield rates(
            f"{kind}, {IN_FLIGHT} connections",
            [one.per_second for one in taken[kind]],
            [one.per_second for one in taken["echo"]],
            peer="echo",
            cpu_micros=median(one.cpu_micros for one in taken[kind]),
        )


def wait_answers(taken: Mapping[str, Sequence[Round]]) -> Iterator[Answer]:
    """How long one client waits beside one echo."""
    echo = [one.spread.p50 for one in taken["echo"]]
    for kind in RESOURCE_KINDS:
        ours = [one.spread.p50 for one in taken[kind]]
        text, other = f"{median(ours):.2f} ms", f"echo {median(echo):.2f} ms"
        yield Answer(f"{kind}, 1 client, p50", text, other, median_ratio(ours, echo))


def events(
    web: RoleProcess, bootstrap_servers: str, given: argparse.Namespace
) -> tuple[list[Answer], object]:
    """How soon a consumer has the event of an update, at a fixed rate of them."""
    updates = requests("PUT resource", UPDATABLE)
    run(Load(web.port, updates, 1.0, rate=given.rate / 5))
    followed = Followed(bootstrap_servers, UPDATED, SENT, accepted="occurred_at")
    with Follower(consume, followed) as consumer:
        written = run(Load(web.port, updates, given.event_seconds, rate=given.rate))
    since_due, since_command = map(spread, consumer.latencies)
    figures = {
        "since due": asdict(since_due),
        "since the command": asdict(since_command),
        "writes": asdict(written.spread),
    }
    return event_answers(UPDATED, given.rate, since_due, since_command), figures


def arguments() -> argparse.Namespace:
    """Those of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resources", type=int, default=10_000, help="1000 at least (default: 10000)")
    parser.add_argument("--rounds", type=int, default=3, help="of each pair (default: 3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each load (default: 1)")
    parser.add_argument("--rate", type=float, default=500.0, help="updates whose events are followed")
    parser.add_argument("--event-seconds", type=float, default=8.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.resources < UPDATABLE:
        parser.error(f"updates go to {UPDATABLE} resources, so there must be as many")
    return given


def main() -> None:
    """Run and print."""
    given = arguments()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        Stage(Path(directory), {"KAFKA_PARTITIONS": str(PARTITIONS)}) as stage,
    ):
        servers = stage.bootstrap_servers
        kafka = KafkaSettings(bootstrap_servers=servers, partitions=PARTITIONS, replication=1)
        web, worker = stage.start("web"), stage.start("worker")
        wait_ready(web, worker)
        create(kafka, web, given.resources)
        read, figures_of_reads = reads(web, Path(directory), given)  # first: creates fill the first pages
        written, figures_of_writes = writes(web, worker, servers, given)
        seen, figures_of_events = events(web, servers, given)
    tell(
        "resources",
        [*read, *written, *seen],
        seed=given.seed,
        resources=given.resources,
        figures={"reads": figures_of_reads, "writes": figures_of_writes, "events": figures_of_events},
    )


if __name__ == "__main__":
    main()
