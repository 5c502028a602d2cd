"""Every error raised on purpose, as one tree.

ControlPlaneError
    TransientError(retry_after)     may succeed after this many seconds
        Unavailable                 Kafka, a partition or a table cannot answer now: 503 at the edge
            Unconfirmed             stored in its topic, but no outcome came in time
            Untaken                 Kafka takes no record now; this one is not stored, or may be
            NotPermitted            Kafka lacks a grant for us; the text names it
        SinkUnavailable             the database behind a sink is away: the sink waits
    PermanentError                  no retry helps
        Unpublishable               Kafka will never accept this record: a bug of ours
        MalformedRecord(reason)     the record goes to the dead-letter topic under this reason
        Rejected(code, text)        the caller gets it: a 4xx, or a result with outcome `rejected`
"""

from collections.abc import Mapping
from typing import Any


class ControlPlaneError(Exception):
    """Root of all errors raised on purpose."""


class TransientError(ControlPlaneError):
    """The operation may succeed later.

    Args:
        text: The part that is away, for the log and, at the edge, the caller.
        retry_after: Seconds to wait before the next try.
    """

    def __init__(self, text: str, *, retry_after: float = 1.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Unavailable(TransientError):
    """Kafka, one of its partitions or a table cannot answer now."""


class Untaken(Unavailable):
    """Kafka, or one of its partitions, takes no record now; if a record was sent, it may still come there."""


class Unconfirmed(Unavailable):
    """The record is in its topic and will be decided, but its outcome did not come in time."""


class NotPermitted(Unavailable):
    """Kafka refuses this process a right that it needs; another try helps once somebody has granted it."""


class SinkUnavailable(TransientError):
    """The system behind a sink cannot take rows now."""


class PermanentError(ControlPlaneError):
    """No retry helps."""


class Unpublishable(PermanentError):
    """Kafka will never accept this record; the code that built it has a bug."""


class MalformedRecord(PermanentError):
    """A record that cannot be handled.

    Args:
        reason: Short and countable, e.g. `invalid_schema`, `bad_key`, `unknown_cluster`.
        text: The fault of this record.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Rejected(PermanentError):
    """A request that was understood and refused.

    Args:
        code: One of the codes of the error table, UPPER_SNAKE.
        text: One sentence for the caller.
        details: Machine-readable extras, e.g. `field` and `value`.
    """

    def __init__(self, code: str, text: str, **details: Any) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.details: Mapping[str, Any] = details


def invalid(text: str, *, field: str, value: object = None) -> Rejected:
    """A `VALIDATION_FAILED` that names the faulty member, with its value cut short if it is a string."""
    shown = {"value": short(value)} if isinstance(value, str) else {}
    return Rejected("VALIDATION_FAILED", text, field=field, **shown)


def short(text: str) -> str:
    """At most 64 characters of a client's text, because refusals are stored, logged and sent back."""
    return text if len(text) <= 64 else text[:63] + "…"


def not_found() -> Rejected:
    """The same answer for absent, deleted and invisible entities, so that existence is not revealed."""
    return Rejected("RESOURCE_NOT_FOUND", "Cluster not found")
