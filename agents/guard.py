"""One bad record never stops a partition: what a record raises parks that record, and the turn goes on."""

import logging
from collections.abc import Callable
from typing import TypeVar

from aiokafka import ConsumerRecord

from domain.errors import MalformedRecord
from streams.topics import MAX_INPUT_BYTES
from streams.turn import Turn

log = logging.getLogger("clusterflow.agents")

V = TypeVar("V")


def guarded(turn: Turn[V], record: ConsumerRecord, handle: Callable[[Turn[V], ConsumerRecord], None]) -> None:
    """Handle a record, or park it: under a `MalformedRecord`'s reason, for any other as `internal_error`.

    A handler changes the turn only after everything that can raise, so a parked record leaves no half effect.
    """
    try:
        if record.value is None:
            raise MalformedRecord("null_value", "a record without a value")
        if len(record.value) + len(record.key or b"") > MAX_INPUT_BYTES:  # once unpacked
            raise MalformedRecord("too_large", f"a record of more than {MAX_INPUT_BYTES // 1024} KiB")
        handle(turn, record)
    except MalformedRecord as error:
        turn.park(record, error)
    except Exception as error:
        log.exception(
            "record could not be handled",
            extra={"topic": record.topic, "partition": record.partition, "offset": record.offset},
        )
        turn.park(record, MalformedRecord("internal_error", repr(error)))
