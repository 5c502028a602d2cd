"""`python -m bench.reader BOOTSTRAP PARTITIONS TOPIC…`: reads topics from beginning to end, and nothing else.

The least that filling a table or a view from its changelog can take with this client. Prints `ready` when it
begins and `done` with the number of records when it has them all. It leaves out groups, decoding and keeping.
"""

import sys

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition


async def main(bootstrap_servers: str, partitions: str, *topics: str) -> None:
    """Read once."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    await consumer.start()
    places = [TopicPartition(topic, number) for topic in topics for number in range(int(partitions))]
    consumer.assign(places)
    ends = await consumer.end_offsets(places)
    print("ready", flush=True)
    count = 0
    for place in places:
        consumer.seek(place, 0)
    left = {place for place in places if ends[place] > 0}
    while left:
        for place, records in (await consumer.getmany(timeout_ms=1000)).items():
            count += len(records)
            if records[-1].offset + 1 >= ends[place]:
                left.discard(place)
    print("done", count, flush=True)
    await consumer.stop()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
