"""One bad record never stops a partition: what a record raises parks that record, and the turn goes on."""

import logging
import traceback
from collections.abc import Callable
from typing import TypeVar

from aiokafka import ConsumerRecord

from domain.errors import MalformedRecord
from domain.offsets import origin_of
from streams.headers import ANSWERED_BY, BY_KAFKA, ORIGIN, TRIGGERED_BY, headers_of
from streams.reading.unpacking import unreadable
from streams.topic import MAX_INPUT_BYTES
from streams.turns.turn import Here
from streams.writing.outputs import Headers, Output, batch_bytes

log = logging.getLogger("clusterflow.agents")

V = TypeVar("V")


def guarded(here: Here[V], handle: Callable[[Here[V]], None]) -> None:
    """Handle a record, or park it: under a `MalformedRecord`'s reason, for any other as `internal_error`.

    A handler changes the turn only after everything that can raise, so a parked record leaves no half effect.
    """
    record = here.record
    try:
        if record.value is None:
            raise _without_value(record)
        require_passable(record.key, record.value, list(record.headers))
        handle(here)
    except MalformedRecord as error:
        here.park(error)
    except Exception as error:
        # Type and place alone: the text of an unforeseen error may quote the record.
        place = traceback.extract_tb(error.__traceback__)[-1]
        log.error(
            "record could not be handled",
            extra={
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "error": type(error).__name__,
                "at": f"{place.name}, line {place.lineno}",
            },
        )
        here.park(MalformedRecord("internal_error", repr(error)))


def _without_value(record: ConsumerRecord) -> MalformedRecord:
    if (why := unreadable(record)) is not None:
        return MalformedRecord("unreadable", why)
    return MalformedRecord("null_value", "a record without a value")


def pass_on(here: Here[V], topic: str) -> None:
    """Pass a client's record on to a topic that clients may not write, into the partition that it is in.

    Clients may not follow the changelog, so they get a result whatever their headers say.

    Raises: MalformedRecord: `too_large`, that topic would not take it with the headers that are added.
    """
    record = here.record
    origin = origin_of(here.log, record.offset)
    headers = {**headers_of(record), TRIGGERED_BY: BY_KAFKA, ORIGIN: origin}
    headers.pop(ANSWERED_BY, None)
    require_passable(record.key, record.value, [(name, text.encode()) for name, text in headers.items()])
    here.publish(Output(topic, record.key, record.value, headers, partition=record.partition))


def require_passable(key: bytes | None, value: bytes, headers: Headers) -> None:
    """Refuse what a topic for input would not take as we publish: uncompressed, with its headers.

    A client's compressed record may unpack to that, and agents pass records on: a misplaced one to its place,
    an admitted create to the commands.

    Raises: MalformedRecord: `too_large`.
    """
    if batch_bytes(key, value, headers) > MAX_INPUT_BYTES:
        raise MalformedRecord("too_large", f"a record of more than {MAX_INPUT_BYTES // 1024} KiB")
