"""`python -m bench.events`: how soon others know of a write, at 500 writes a second.

One process consumes `cluster-events`, another holds 50 watches (server-sent events); both read the moment
each write was due out of its spec, so latency counts from before the request was sent: HTTP, the command's
way and the decision are in it. From the broker's stamp on the command, which is when the write is safe, to
the event is shown beside it; stamps are whole milliseconds. Watches see every write: 25 000 changes a
second leave web. What a watch lists first is not counted.
"""

import argparse
import asyncio
import re
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.bursts import until_counted
from bench.figures import Answer, Spread, spread, tell
from bench.filled import PARTITIONS, FilledStage
from bench.load import Load, run
from bench.stage import HOST, wait_ready
from bench.wire import request_bytes
from bench.writes import CONTROLLER, requests
from streams.topics import Topics

WATCHERS: Final = 50
CLUSTERS: Final = 1000

QUIET_LOOKS: Final = 10  # looks in a row, a tenth of a second each, that find nothing new: all has come
TOLD_WITHIN: Final = 60.0  # seconds

_SENT: Final = re.compile(rb'"sentAt":"([0-9]{16})"')
_LISTED: Final = b"event: BOOKMARK\n"
_TAIL: Final = 26  # bytes, one less than a stamp: one that lies across two pieces is found, and none twice


def stamps(piece: bytes, sent: re.Pattern[bytes] = _SENT) -> list[float]:
    """The moments, in seconds since 1970, at which the writes told of in some JSON were due."""
    return [int(found) / 1e6 for found in sent.findall(piece)]


@dataclass(frozen=True, slots=True)
class Followed:
    """A topic of events to follow.

    Attributes:
        sent: Finds the microseconds since 1970 at which a write was due, in its event.
        accepted: The header that has the broker's stamp on the command.
    """

    bootstrap_servers: str
    topic: str = Topics().events
    sent: re.Pattern[bytes] = _SENT
    accepted: str = "timestamp"


Latencies = Sequence[Sequence[float]]
"""What a follower saw, in seconds, by where they are counted from."""


async def consume(followed: Followed, say: "Connection[Any, Any]") -> Latencies:
    """Follow the events until told to stop; returns latencies since due, and since the command's stamp."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=followed.bootstrap_servers, group_id=None, enable_auto_commit=False
    )
    await consumer.start()
    places = [TopicPartition(followed.topic, number) for number in range(PARTITIONS)]
    consumer.assign(places)
    await consumer.seek_to_end(*places)
    for place in places:
        await consumer.position(place)
    since_due: list[float] = []
    since_command: list[float] = []
    say.send("ready")
    quiet = 0
    while quiet < QUIET_LOOKS or not say.poll():
        polled = await consumer.getmany(timeout_ms=100)
        now = time.time()
        quiet = 0 if polled else quiet + 1
        for records in polled.values():
            for record in records:
                if not (found := stamps(record.value, followed.sent)):
                    continue
                # An update's event tells the old spec as well, in its changes: the newest stamp is its own.
                since_due.append(now - max(found))
                stamped = dict(record.headers)[followed.accepted].decode()
                since_command.append(now - datetime.fromisoformat(stamped).timestamp())
    await consumer.stop()
    return since_due, since_command


async def watch(port: int, say: "Connection[Any, Any]") -> Latencies:
    """Hold the watches until told to stop; returns the latencies of all of them together."""
    latencies: list[float] = []
    watches = [asyncio.create_task(_watch(port, latencies)) for _ in range(WATCHERS)]
    say.send("ready")
    seen, quiet = 0, 0
    while quiet < QUIET_LOOKS or not say.poll():
        await asyncio.sleep(0.1)
        quiet, seen = (quiet + 1 if seen == len(latencies) else 0), len(latencies)
        for one in watches:
            if one.done():
                one.result()
                raise RuntimeError("a watch was ended by the server")
    for one in watches:
        one.cancel()
    return (latencies,)


async def _watch(port: int, latencies: list[float]) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(request_bytes("GET", "/api/v1/clusters?watch=true", email=CONTROLLER))
    rest, listed = b"", False
    while piece := await reader.read(1 << 18):
        now = time.time()
        rest += piece
        if not listed:  # the current state, with stamps of writes from before
            _, mark, behind = rest.partition(_LISTED)
            listed, rest = bool(mark), behind if mark else rest[-_TAIL:]
        if listed:
            latencies += [now - at for at in stamps(rest)]
            rest = rest[-_TAIL:]


Follow = Callable[[Any, "Connection[Any, Any]"], Coroutine[Any, Any, Latencies]]


class Follower:
    """Follows in a process of its own while the block runs; then `latencies` has what it saw."""

    latencies: Latencies

    def __init__(self, follow: Follow, where: object) -> None:
        context = get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_follow, args=(follow, where, theirs), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self._told()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._ours.send("stop")
                self.latencies = self._told()
        finally:
            self._process.kill()
            self._process.join()

    def _told(self) -> Any:
        if not self._ours.poll(TOLD_WITHIN):
            raise RuntimeError("a follower said nothing in time")
        return self._ours.recv()  # EOFError: it failed, and has said why on stderr


def _follow(follow: Follow, where: object, say: "Connection[Any, Any]") -> None:
    say.send(uvloop.run(follow(where, say)))


def event_answers(
    event: str,
    rate: float,
    since_due: Spread,
    since_command: Spread,
    reach: tuple[float, float] | None = None,
) -> list[Answer]:
    """How soon a consumer has an event. `reach` bounds p50 and p99 in milliseconds since the command."""
    p50, p99 = reach or (None, None)
    way = f"{event} at a consumer at {rate:,.0f} writes/s"
    due, stamped = f"write due → {way}", f"write in the log → {way}"
    seen = f"{since_due.count:,} events"
    return [
        Answer(f"{stamped}, p50", seen, "", since_command.p50, most=p50, unit="ms"),
        Answer(f"{stamped}, p99", seen, "", since_command.p99, most=p99, unit="ms"),
        Answer(f"{due}, p50", seen, "", since_due.p50, unit="ms"),
        Answer(f"{due}, p99", seen, "", since_due.p99, unit="ms"),
    ]


def answers(rate: float, events: Spread, accepted: Spread, watches: Spread) -> Sequence[Answer]:
    """What is asked of them."""
    at = f"at {rate:,.0f} writes/s"
    return [
        *event_answers("event", rate, events, accepted, reach=(10.0, 50.0)),
        Answer(
            f"write due → change at {WATCHERS} watches {at}, p99",
            f"{watches.count:,} changes, p50 {watches.p50:.0f} ms",
            "",
            watches.p99,
            most=250.0,
            unit="ms",
        ),
    ]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=500.0, help="writes a second (default: 500)")
    parser.add_argument("--seconds", type=float, default=8.0)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as directory,
        FilledStage(Path(directory), CLUSTERS) as stage,
    ):
        web, worker = stage.start("web"), stage.start("worker")
        wait_ready(web, worker)
        writes = requests("PUT cluster", CLUSTERS)
        run(Load(web.port, writes, 1.0, rate=given.rate / 5))
        with Follower(consume, Followed(stage.bootstrap_servers)) as consumer:
            events_alone = run(Load(web.port, writes, given.seconds, rate=given.rate, first=10_000_000))
        with Follower(watch, web.port) as watchers:
            until_counted(web, "clusterflow_watchers", WATCHERS)
            watched = run(Load(web.port, writes, given.seconds, rate=given.rate, first=20_000_000))
    since_due, since_command = map(spread, consumer.latencies)
    [changes] = map(spread, watchers.latencies)
    tell(
        "events",
        answers(given.rate, since_due, since_command, changes),
        figures={
            "events since due": asdict(since_due),
            "events since the command": asdict(since_command),
            "changes since due": asdict(changes),
            "writes": {"events": asdict(events_alone.spread), "watches": asdict(watched.spread)},
        },
    )


if __name__ == "__main__":
    main()
