"""`python -m bench.null BOOTSTRAP TOPIC GROUP COUNT`: a Faust agent that does nothing, record by record.

Faust as well tuned as it goes without replacing its inside: uvloop, raw bytes instead of JSON, its Cython
parts, large buffers and polls, rare commits, no log records below warnings. Prints `done` with the monotonic
time whenever it has taken COUNT more records. It leaves out everything an agent is for: decoding, state,
outputs, and their acknowledgement.
"""

import asyncio
import logging
import sys
import time
from typing import Any

import faust
import uvloop


def create(bootstrap_servers: str, topic: str, group: str, count: int) -> faust.App:
    """The app with its agent."""
    app = faust.App(
        group,
        broker=f"kafka://{bootstrap_servers}",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        autodiscover=False,
        consumer_auto_offset_reset="latest",
        stream_wait_empty=False,
        stream_buffer_maxsize=65536,
        stream_publish_on_commit=False,
        broker_max_poll_records=5000,
        broker_commit_interval=1.0,
        consumer_max_fetch_size=4 * 1024 * 1024,
    )
    source = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    taken = 0

    async def nothing(stream: Any) -> None:
        nonlocal taken
        async for _ in stream:
            taken += 1
            if taken % count == 0:
                print("done", time.monotonic(), flush=True)

    app.agent(source)(nothing)
    return app


async def main(bootstrap_servers: str, topic: str, group: str, count: str) -> None:
    """Run until killed."""
    logging.disable(logging.INFO)
    app = create(bootstrap_servers, topic, group, int(count))
    await app.start()
    while not app.consumer.assignment() or app.rebalancing or not app.flow_control.is_active():
        await asyncio.sleep(0.05)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main(*sys.argv[1:]))
