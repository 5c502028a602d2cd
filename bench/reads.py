"""`python -m bench.reads`: GET one cluster and a filtered page, beside a bare aiohttp handler.

The handler (`bench/bare.py`) answers the same bytes from the same library on the same kind of event loop.
Both are loaded in turn, in short pairs, by the same generator: closed at 64 connections, for requests a
second, and open at one rate for both, for latencies without coordinated omission.
"""

import argparse
import random
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench.figures import Answer, median_ratio, rates, tell
from bench.filled import FilledStage
from bench.fleet import cluster_id, owner
from bench.load import Load, Loaded, run
from bench.peer import Peer
from bench.stage import HOST, wait_ready
from bench.wire import Connection, request_bytes

CONTROLLER: Final = "bench@system.local"

# The rate of the open loop, in parts of the product's own peak: busy, and not overrun.
OPEN_PART: Final = 0.5


@dataclass(frozen=True, slots=True)
class Reading:
    """One kind of read, of the product and of the peer; `pid` is that of the product's process."""

    name: str
    requests: Sequence[bytes]
    port: int
    peer_port: int
    pid: int

    def pair(self, seconds: float, rate: float | None = None) -> tuple[Loaded, Loaded]:
        """Load one, then the other."""
        ours = run(Load(self.port, self.requests, seconds, rate=rate), self.pid)
        return ours, run(Load(self.peer_port, self.requests, seconds, rate=rate))


def requests_one(clusters: int, chosen: random.Random) -> list[bytes]:
    """GETs of many clusters by their owners, so that no cache of anything helps."""
    numbers = chosen.sample(range(clusters), min(clusters, 5000))
    return [request_bytes("GET", f"/api/v1/clusters/{cluster_id(n)}", email=owner(n)) for n in numbers]


def requests_page(clusters: int) -> list[bytes]:
    """Pages of 50 of the ready clusters on one platform, at several places of the list."""
    last = max(1, clusters // 3 - 50)
    paths = [
        f"/api/v1/clusters?platform=gcp&status=Ready&limit=50&offset={place}"
        for place in range(0, min(last, 5000), 50)
    ]
    return [request_bytes("GET", path, email=CONTROLLER) for path in paths]


def bodies(port: int, readings: Sequence[Sequence[bytes]], directory: Path) -> list[Path]:
    """One true answer of each kind, as a file."""
    paths = []
    with Connection(HOST, port) as connection:
        for number, requests in enumerate(readings):
            answer = connection.exchange(requests[0])
            if answer.status != 200:
                raise RuntimeError(f"{answer.status} {answer.body[:500]!r}")
            path = directory / f"body-{number}"
            path.write_bytes(answer.body)
            paths.append(path)
    return paths


def compared(reading: Reading, *, pairs: int, seconds: float, least: float) -> tuple[list[Answer], object]:
    """Both loops, as answers and as figures."""
    reading.pair(0.5)  # connections, orders of lists, compiled code
    closed = [reading.pair(seconds) for _ in range(pairs)]
    ours, peers = [pair[0].per_second for pair in closed], [pair[1].per_second for pair in closed]
    rate = median(ours) * OPEN_PART
    opened = [reading.pair(seconds, rate) for _ in range(pairs)]
    closed_tail = _tail(reading.name, "64 connections", closed)
    open_tail = _tail(reading.name, f"{rate:,.0f}/s due", opened)
    answers = [
        rates(f"{reading.name}, 64 connections", ours, peers, least=least),
        *(closed_tail, open_tail),
    ]
    figures = {
        loop: [{"ours": asdict(ours.spread), "peer": asdict(peer.spread)} for ours, peer in pairs_]
        for loop, pairs_ in (("closed", closed), ("open", opened))
    }
    return answers, {"per_second": {"ours": ours, "peer": peers}, "open_rate": rate, **figures}


def _tail(name: str, loop: str, pairs: Sequence[tuple[Loaded, Loaded]]) -> Answer:
    ours, peers = ([pair[side].spread.p99 for pair in pairs] for side in (0, 1))
    mine, theirs = (f"{median(values):.2f} ms" for values in (ours, peers))
    most = 1.5 if name == ONE else None
    return Answer(f"{name}, p99 at {loop}", mine, theirs, median_ratio(ours, peers), most=most)


ONE: Final = "GET one cluster"
PAGE: Final = "list page of 50, filtered"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each side of a pair (default: 1.5)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        FilledStage(Path(directory), given.clusters) as stage,
    ):
        web = stage.start("web")
        wait_ready(web)
        kinds = [requests_one(given.clusters, random.Random(given.seed)), requests_page(given.clusters)]
        with Peer("bench.bare", *bodies(web.port, kinds, Path(directory))) as bare:
            answers, figures = [], {}
            for name, requests, port, least in zip(
                (ONE, PAGE), kinds, map(int, bare.introduced), (0.8, 0.5), strict=True
            ):
                reading = Reading(name, requests, web.port, port, web.pid)
                told, figures[name] = compared(reading, pairs=given.pairs, seconds=given.seconds, least=least)
                answers += told
    tell("reads", answers, seed=given.seed, clusters=given.clusters, figures=figures)


if __name__ == "__main__":
    main()
