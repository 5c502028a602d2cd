"""Who may write a partition of a changelog, told by the log itself, so that no reader believes a zombie.

A worker that takes a partition over writes a claim into its changelog before it recovers, and names that
claim's offset in a header of every record it writes there. A record counts only if no later claim stands
before it: what a worker sends that was paused, or whose link was cut, lies behind its successor's claim
and is passed over by recovery, views and sinks alike. The successor has read everything up to its own claim.
Broker-side order decides, so no clock, no session and no request still on its way can break it; it is the
fencing token of Kleppmann ("How to do distributed locking", 2016) with the log as the lock service.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from streams.codec import encode
from streams.messages import ClaimMessage
from streams.producer import Output

CLAIM_KEY: Final = b"@claim"
CLAIM_HEADER: Final = "claim"

NO_CLAIM: Final = -1


class LogRecord(Protocol):
    """What has to be known of a record."""

    key: bytes
    value: bytes | None
    partition: int
    offset: int
    headers: Iterable[tuple[str, bytes]]


class Claims:
    """The claims in one changelog topic, for a reader that sees each partition in offset order.

    Args:
        standing: Per partition, the claim that stood where this reader begins.
    """

    def __init__(self, standing: Mapping[int, int] | None = None) -> None:
        self._standing = dict(standing or {})

    def admits(self, record: LogRecord) -> bool:
        """Whether a record is data that counts: no claim itself, and no zombie's."""
        standing = self._standing.get(record.partition, NO_CLAIM)
        if is_claim(record):
            self._standing[record.partition] = max(standing, record.offset)
            return False
        claim = claim_of(record)
        if claim > standing:  # its claim stands before where this reader began, or was compacted away
            self._standing[record.partition] = claim
        return claim >= standing

    def standing(self, partition: int) -> int:
        """The offset of the last claim seen, `NO_CLAIM` before the first."""
        return self._standing.get(partition, NO_CLAIM)

    def forget(self, partition: int) -> None:
        """Begin anew with a partition."""
        self._standing.pop(partition, None)


def is_claim(record: LogRecord) -> bool:
    """Whether a record is a claim."""
    return record.key == CLAIM_KEY


def claim_of(record: LogRecord) -> int:
    """The offset of the claim that a record was written under; `NO_CLAIM` where it names none."""
    for name, value in record.headers or ():
        if name == CLAIM_HEADER:
            return int(value) if value.isdigit() else NO_CLAIM
    return NO_CLAIM


def claim_output(topic: str, partition: int, worker: str) -> Output:
    """The record that claims a partition; its value names the worker, for people."""
    return Output(topic, CLAIM_KEY, encode(ClaimMessage(worker=worker)), partition=partition)


def under(claim: int) -> Mapping[str, str]:
    """The headers of a record written under a claim."""
    return {CLAIM_HEADER: str(claim)}
