"""`python -m bench.roundtrip`: what one client waits for a write, beside the bare Kafka echo.

One run measures everything, in many short alternating rounds, so that whatever else the machine does hits
all of them alike; the ratios to the echo are what counts. Every write is answered only once it is decided,
acknowledged and readable, so the echo (two acknowledged records, two fetches) is the least it could take.
"""

import argparse
import asyncio
import contextlib
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import uvloop

from bench.echo import EchoClient, EchoServer, declare_echo_topics
from bench.figures import RESULTS, Answer, Spread, spread, tell
from bench.stage import HOST, RoleProcess, Stage, wait_ready
from bench.wire import Connection, request_bytes

OWNER: Final = "bench@example.com"
CONTROLLER: Final = "x@system.local"

# Times the echo that a write may take at most, at p50 and at p99.
REQUIRED: Final[Mapping[str, tuple[float, float] | None]] = {
    "echo": None,
    "PUT cluster": (3.0, 3.0),
    "PUT status": (3.0, 3.0),
    "POST cluster": (5.0, 5.0),
}


@dataclass
class Writes:
    """The three kinds of write, each timed on one keep-alive connection."""

    connection: Connection
    random: random.Random
    clusters: list[str] = field(default_factory=list)
    created: int = 0

    def post(self) -> float:
        """Create a cluster."""
        self.created += 1
        body = {"name": f"bench-{self.created}", "spec": self._spec()}
        seconds, answer = self._timed("POST", "/api/v1/clusters", 201, OWNER, body)
        if len(self.clusters) < 20:
            self.clusters.append(answer["id"])
        return seconds

    def put(self) -> float:
        """Replace a spec."""
        path = f"/api/v1/clusters/{self.random.choice(self.clusters)}"
        return self._timed("PUT", path, 200, OWNER, {"spec": self._spec()})[0]

    def put_status(self) -> float:
        """Report as a controller."""
        path = f"/api/v1/clusters/{self.random.choice(self.clusters)}/status"
        return self._timed("PUT", path, 200, CONTROLLER, report(self.random.random() < 0.5))[0]

    def _spec(self) -> dict[str, object]:
        return spec(self.random.randrange(10**6))

    def _timed(
        self, method: str, path: str, expected: int, email: str, body: object
    ) -> tuple[float, dict[str, str]]:
        request = request_bytes(method, path, email=email, body=body)
        started = time.perf_counter()
        answer = self.connection.exchange(request)
        seconds = time.perf_counter() - started
        if answer.status != expected:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.body[:500]!r}")
        return seconds, answer.json()


def spec(number: int) -> dict[str, object]:
    """A spec of the usual size, different for each number."""
    return {
        "infraID": f"bench-{number}"[:15],
        "platform": {
            "type": "gcp",
            "gcp": {"projectID": "bench-project", "region": "us-central1", "network": "default"},
        },
        "release": {"image": "quay.io/release:4.17.0", "version": "4.17.0", "channelGroup": "stable"},
        "networking": {
            "clusterNetwork": [{"cidr": "10.128.0.0/14", "hostPrefix": 23}],
            "serviceNetwork": ["172.30.0.0/16"],
        },
        "dns": {"baseDomain": "example.com"},
    }


def report(available: bool) -> dict[str, object]:
    """A controller's report on generation 1."""
    condition = {
        "type": "Available",
        "status": str(available),
        "reason": "Measured",
        "message": "as the benchmark says",
    }
    return {"controller_name": "bench", "observed_generation": 1, "conditions": [condition]}


def measure(stage: Stage, web: RoleProcess, *, samples: int, seed: int) -> dict[str, list[float]]:
    """Latencies in seconds by what was measured."""
    payload = request_bytes("PUT", "/", email=OWNER, body={"spec": spec(seed)})
    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop,
        Connection(HOST, web.port) as connection,
    ):
        loop.run(declare_echo_topics(stage.bootstrap_servers))
        with EchoServer(stage.bootstrap_servers):
            echo = EchoClient(stage.bootstrap_servers)
            loop.run(echo.start())
            writes = Writes(connection, random.Random(seed))

            async def echoes(count: int) -> list[float]:
                return [await echo.echo(payload) for _ in range(count)]

            kinds: dict[str, Callable[[int], list[float]]] = {
                "POST cluster": lambda count: [writes.post() for _ in range(count)],
                "echo": lambda count: loop.run(echoes(count)),
                "PUT cluster": lambda count: [writes.put() for _ in range(count)],
                "PUT status": lambda count: [writes.put_status() for _ in range(count)],
            }
            try:
                return alternate(kinds, samples=samples)
            finally:
                loop.run(echo.stop())


def alternate(kinds: Mapping[str, Callable[[int], list[float]]], *, samples: int) -> dict[str, list[float]]:
    """Measure all kinds in turn, `ROUND` at a time, after a warm-up."""
    for measured in kinds.values():
        measured(WARM_UP)
    latencies: dict[str, list[float]] = {name: [] for name in REQUIRED}
    for _ in range(-(-samples // ROUND)):
        for name, measured in kinds.items():
            measured(SETTLE)
            latencies[name] += measured(ROUND)
    return latencies


ROUND: Final = 100
WARM_UP: Final = 300  # both sides' caches, connections and, in Java, compiled code
SETTLE: Final = 5  # the first ones after a switch find the other side asleep


def answers(spreads: Mapping[str, Spread]) -> Iterator[Answer]:
    """The ratios to the echo, and those allowed."""
    echo = spreads["echo"]
    for name, figures in spreads.items():
        if (allowed := REQUIRED[name]) is None:
            continue
        for rank, most in zip(("p50", "p99"), allowed, strict=True):
            ours, peer = getattr(figures, rank), getattr(echo, rank)
            yield Answer(
                f"{name}, 1 client, {rank}", f"{ours:.2f} ms", f"echo {peer:.2f} ms", ours / peer, most=most
            )


@contextlib.contextmanager
def profiled(roles: Sequence[RoleProcess], *, py_spy: str | None) -> Iterator[None]:
    """Record the roles with py-spy while the block runs, as raw stacks in the results directory."""
    if py_spy is None:
        yield
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    recorders = [
        subprocess.Popen(
            [py_spy, "record", "--pid", str(role.pid), "--format", "raw", "--rate", "200", "--nonblocking",
             "--duration", "600", "--output", str(RESULTS / f"profile-{role.name}.txt")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for role in roles
    ]  # fmt: skip
    try:
        yield
    finally:
        for recorder in recorders:
            recorder.send_signal(signal.SIGINT)  # py-spy writes what it has
            recorder.wait()


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000, help="of each kind (default: 1000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", metavar="PY_SPY", help="py-spy's path: record web and worker with it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, Stage(Path(directory)) as stage:
        web, worker = stage.start("web"), stage.start("worker")
        print(f"ready after {wait_ready(web, worker):.1f} s")
        with profiled([web, worker], py_spy=arguments.profile):
            latencies = measure(stage, web, samples=arguments.samples, seed=arguments.seed)
    spreads = {name: spread(values) for name, values in latencies.items()}
    figures = {name: asdict(value) for name, value in spreads.items()}
    tell("roundtrip", list(answers(spreads)), seed=arguments.seed, client="blocking socket", figures=figures)


if __name__ == "__main__":
    main()
