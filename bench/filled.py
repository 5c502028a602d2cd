"""A stage whose changelogs hold a fleet, made once and copied from then on.

The fleet goes into an empty Kafka, which is then stopped; each stage begins with a copy of its directory. So
a measurement at 100 000 clusters waits a second instead of half a minute, and all begin alike.
"""

import asyncio
import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.figures import RESULTS
from bench.fleet import fill
from bench.stage import REPOSITORY, Stage
from streams.settings import KafkaSettings

FLEETS: Final = RESULTS / "fleets"
PARTITIONS: Final = 12

# Beyond this a fleet is made anew: brokers compact changelogs that are older, and that is work of its own.
FRESH_SECONDS: Final = 45 * 60

# What a record's bytes depend on.
_SOURCES: Final = (
    "domain/*.py",
    "streams/cluster/codec.py",
    "streams/json.py",
    "streams/topic.py",
    "streams/cluster/flow.py",
    "bench/fleet.py",
    "bench/filled.py",
)


class FilledStage(Stage):
    """A stage with so many clusters; nothing has run on it yet.

    Attributes:
        stored_bytes: Of their state records, keys included.
    """

    stored_bytes: int

    def __init__(
        self,
        directory: Path,
        clusters: int,
        environment: Mapping[str, str] | None = None,
        *,
        partitions: int = PARTITIONS,
    ) -> None:
        source = _fleet(clusters, partitions)
        shutil.copytree(source / "data" / "kafka", directory / "kafka")
        self.stored_bytes = json.loads((source / "fleet.json").read_text())["bytes"]
        super().__init__(directory, {"KAFKA_PARTITIONS": str(partitions), **(environment or {})})


def _fleet(clusters: int, partitions: int) -> Path:
    """The directory of a fleet, made if there is none that is fresh."""
    path = FLEETS / f"{clusters}-{partitions}-{_version()}"
    about = path / "fleet.json"
    if about.exists() and time.time() - json.loads(about.read_text())["made"] < FRESH_SECONDS:
        return path
    for outdated in FLEETS.glob(f"{clusters}-{partitions}-*"):
        shutil.rmtree(outdated)
    print(f"making a fleet of {clusters} clusters (kept for the measurements that follow)", flush=True)
    with Stage(path / "data", {"KAFKA_PARTITIONS": str(partitions)}) as stage:
        kafka = KafkaSettings(bootstrap_servers=stage.bootstrap_servers, partitions=partitions, replication=1)
        size = asyncio.run(fill(kafka, clusters))
    about.write_text(json.dumps({"made": time.time(), "bytes": size}))
    return path


def _version() -> str:
    digest = hashlib.sha256()
    for pattern in _SOURCES:
        for source in sorted(REPOSITORY.glob(pattern)):
            digest.update(source.read_bytes())
    return digest.hexdigest()[:10]
