"""`python -m bench.quix BOOTSTRAP PARTITIONS DIRECTORY`: the job of `bench.ours` on Quix Streams.

As its own documentation has it: JSON in, a stateful update kept in RocksDB with a changelog topic, one JSON
record out, in an environment of its own (`quix.lock`). It stores and acknowledges at its commits, a second
apart, where the product does so for every turn before it goes on.
"""

import sys
import threading
import time
from typing import Any, Final

from quixstreams import Application  # type: ignore[import-not-found, unused-ignore]
from quixstreams.models import TopicConfig  # type: ignore[import-not-found, unused-ignore]

INPUT: Final = "bench-quix-in"
OUTPUT: Final = "bench-quix-out"


def add(reading: dict[str, Any], state: Any) -> dict[str, int]:
    """Count one reading in."""
    after = {
        "count": state.get("count", 0) + 1,
        "total": state.get("total", 0) + reading["value"],
    }
    state.set("count", after["count"])
    state.set("total", after["total"])
    return after


def main(bootstrap_servers: str, partitions: str, directory: str) -> None:
    """Run until killed; ready once partitions are assigned."""
    app = Application(
        broker_address=bootstrap_servers,
        consumer_group="bench-quix",
        auto_offset_reset="latest",
        commit_interval=1.0,
        state_dir=directory,
        loglevel="WARNING",
    )
    config = TopicConfig(num_partitions=int(partitions), replication_factor=1)
    source = app.topic(INPUT, value_deserializer="json", config=config)
    target = app.topic(OUTPUT, value_serializer="json", config=config)
    app.dataframe(source).apply(add, stateful=True).to_topic(target)

    def announce() -> None:
        while not (getattr(app, "_consumer", None) and app._consumer.assignment()):
            time.sleep(0.1)
        print("ready", flush=True)

    threading.Thread(target=announce, daemon=True).start()
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
