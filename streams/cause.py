"""What has caused an event, and the announcement of an event, which carries on what came with its cause."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple

from domain.entity import VersionedEntity
from streams.json import encode, rfc3339
from streams.trace import TRACEPARENT, TRACESTATE
from streams.writing.outputs import Output

CARRIED_ON: Final[tuple[str, ...]] = (TRACEPARENT, TRACESTATE, "request_id")
"""Headers of a command that all resulting records carry too."""


def carried(headers: Mapping[str, str]) -> dict[str, str]:
    """Those among the headers of a record that what follows from it carries on."""
    return {name: headers[name] for name in CARRIED_ON if name in headers}


class Cause(NamedTuple):
    """The cause of an event; it is the same on every replay.

    Attributes:
        id: The command's id, or one derived from a wake's moment; the ids of all resulting records derive
            from it.
        at: The broker's time of the command; for a wake the moment itself, even if it is noticed late.
        headers: Headers that all resulting records carry on, such as the trace.
        keyed: Whether the command came under an `Idempotency-Key`.
        answered_by_state: Whether its sender learns from the changelog that it was applied.
        event_id: The id that what it announces shall have; empty for the usual one.
    """

    id: str
    at: datetime
    headers: Mapping[str, str] = MappingProxyType({})
    keyed: bool = False
    answered_by_state: bool = False
    event_id: str = ""


class Woken(NamedTuple):
    """A decoded wake.

    Attributes:
        at: The broker's time of its record; entities whose moment has come by this time are woken.
        published_at: The clock of the worker that published it.
        committed: The offset from which that worker would have read the partition again.
    """

    at: datetime
    published_at: datetime
    committed: int = 0


def announcement(
    topic: str,
    key: str,
    value: object,
    after: VersionedEntity,
    cause: Cause,
    *,
    event_id: str | None = None,
) -> Output:
    """A public record, with the headers that all public records have; `Flow.announced` adds `producer`.

    Args:
        event_id: Its id unless the cause has one for it; otherwise that of the cause.
    """
    headers = {
        "event_id": cause.event_id or event_id or cause.id,
        "event_type": topic,
        "aggregate_version": str(after.version),
        "occurred_at": rfc3339(cause.at),
        "schema_version": "1",
        **cause.headers,
    }
    return Output(topic, key.encode(), encode(value), headers)
