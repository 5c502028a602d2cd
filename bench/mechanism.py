"""`python -m bench.mechanism`: JSON in, one state update, one record out, beside Quix Streams.

The same job on what carries the product (`bench/ours.py`) and on Quix Streams (`bench/quix.py`), which reads
and writes Kafka in C. Both drain the same bursts in turn; what is compared is events per second of processor
time of the process, since both are one process that may be given a core. Processor time counts until a second
and a half after the last output, so that a commit is in it.
"""

import argparse
import asyncio
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Final

from bench import ours
from bench.bursts import Drained, declare, drain, until_ended
from bench.environments import python_with
from bench.figures import Answer, median_ratio, tell
from bench.filled import PARTITIONS
from bench.peer import Peer
from bench.stage import Stage
from streams.settings import KafkaSettings
from streams.writing.outputs import Output

LOCK: Final = Path(__file__).with_name("quix.lock")
KEYS: Final = 10_000
AFTERWARDS: Final = 1.5  # seconds; Quix Streams commits each second, the product twice in it

QUIX_INPUT: Final = "bench-quix-in"
QUIX_OUTPUT: Final = "bench-quix-out"


@dataclass(slots=True)
class Side:
    """One of the two, and how much it has told so far."""

    peer: Peer
    source: str
    target: str
    told: int = 0

    def drains(self, kafka: KafkaSettings, readings: Sequence[tuple[bytes, bytes]]) -> Drained:
        """One burst."""
        self.told += len(readings)
        records = [Output(self.source, key, value) for key, value in readings]
        return drain(
            kafka,
            records,
            self.peer.pid,
            lambda: until_ended(kafka, self.target, self.told),
            afterwards=AFTERWARDS,
        )


def readings(count: int) -> list[tuple[bytes, bytes]]:
    """Keys and values of a burst."""
    return [(b"key-%d" % (number % KEYS), b'{"value":%d}' % number) for number in range(count)]


def answers(figures: Mapping[str, Sequence[Drained]]) -> Sequence[Answer]:
    """How they compare."""
    sides = figures["ours"], figures["quix"]
    cpu = [[one.per_cpu_second for one in side] for side in sides]
    wall = [[one.per_second for one in side] for side in sides]
    job = "JSON in, state, JSON out"
    return [
        Answer(
            f"{job}, by processor time",
            f"{median(cpu[0]):,.0f} a processor second",
            f"Quix Streams {median(cpu[1]):,.0f}",
            median_ratio(*cpu),
            least=1.2,
        ),
        Answer(
            f"{job}, by the clock",
            f"{median(wall[0]):,.0f}/s",
            f"Quix Streams {median(wall[1]):,.0f}/s",
            median_ratio(*wall),
        ),
    ]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000, help="records of a burst (default: 50000)")
    parser.add_argument("--pairs", type=int, default=3)
    given = parser.parse_args()
    python = python_with(LOCK)
    figures: dict[str, list[Drained]] = {"ours": [], "quix": []}
    with tempfile.TemporaryDirectory(prefix="bench-") as directory, Stage(Path(directory)) as stage:
        kafka = KafkaSettings(bootstrap_servers=stage.bootstrap_servers, partitions=PARTITIONS, replication=1)
        topics = (ours.INPUT, ours.OUTPUT, ours.STATE, QUIX_INPUT, QUIX_OUTPUT)
        asyncio.run(declare(kafka, *topics))
        words = (stage.bootstrap_servers, PARTITIONS)
        with (
            Peer("bench.ours", *words) as product,
            Peer("bench.quix", *words, Path(directory, "quix"), python=python) as quix,
        ):
            sides = {
                "ours": Side(product, ours.INPUT, ours.OUTPUT),
                "quix": Side(quix, QUIX_INPUT, QUIX_OUTPUT),
            }
            burst = readings(given.count)
            for turn, (name, side) in itertools.product(range(given.pairs + 1), sides.items()):
                drained = side.drains(kafka, burst)
                if turn:  # the first warms up
                    figures[name].append(drained)
    kept = {name: list(map(asdict, drained)) for name, drained in figures.items()}
    tell("mechanism", answers(figures), figures=kept)


if __name__ == "__main__":
    main()
