"""Parks what nobody can store: original key and bytes to `<topic>.dlq`, with reason and origin as headers."""

import logging
from collections.abc import Sequence

from aiokafka import ConsumerRecord

from domain.errors import MalformedRecord
from streams.producer import Producer
from streams.turn import DEAD_LETTERS, dead_letter

log = logging.getLogger("clusterflow.sink")


async def park(producer: Producer, bad: Sequence[tuple[ConsumerRecord, MalformedRecord]]) -> None:
    """Returns once all are acknowledged; after a crash some may be parked again, under the same origin.

    Raises: Unavailable.
    """
    for record, error in bad:
        log.warning(
            "dead letter",
            extra={
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "reason": error.reason,
                "error": str(error),
            },
        )
    await producer.publish([dead_letter(record, error.reason, str(error)) for record, error in bad])
    for record, error in bad:
        DEAD_LETTERS.labels(record.topic, error.reason).inc()
