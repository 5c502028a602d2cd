"""What nobody can handle: original key and bytes to `<topic>.dlq`, with reason and origin as headers."""

import logging
from typing import Final, cast

from aiokafka import ConsumerRecord
from prometheus_client import Counter

from domain.errors import MalformedRecord
from streams.headers import DeadLetterHeaders
from streams.producer import Output
from streams.topics import MAX_INPUT_BYTES, MAX_RECORD_BYTES, Topics

log = logging.getLogger("clusterflow.dead_letters")

DEAD_LETTERS = Counter(
    "clusterflow_dead_letters_total", "Records parked in a dead-letter topic", ["topic", "reason"]
)

# What headers and framing add to a dead letter at most.
_ENVELOPE: Final = 64 * 1024


def parked(record: ConsumerRecord, error: MalformedRecord) -> Output:
    """The dead letter of a bad record, counted and logged; what no topic would take is cut."""
    DEAD_LETTERS.labels(record.topic, error.reason).inc()
    origin = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    # What exactly is wrong may quote the record, so that is told in the dead letter alone.
    log.warning("dead letter", extra={**origin, "reason": error.reason})
    headers: DeadLetterHeaders = {
        "dlq_reason": error.reason,
        "dlq_error": str(error)[:1000],
        "dlq_topic": record.topic,
        "dlq_partition": str(record.partition),
        "dlq_offset": str(record.offset),
    }
    key, value = record.key, record.value
    if len(key or b"") + len(value or b"") > MAX_RECORD_BYTES - _ENVELOPE:
        headers["dlq_cut_from"] = f"key of {len(key or b'')} bytes, value of {len(value or b'')} bytes"
        key, value = (key or b"")[:MAX_INPUT_BYTES], (value or b"")[:MAX_INPUT_BYTES]
    return Output(Topics.dead_letters(record.topic), key, value, cast("dict[str, str]", headers))
