"""Who may write a partition of a changelog, decided by the log itself, so that no reader believes a zombie.

Theory of operation. A worker that takes a partition over writes a claim into its changelog before it
recovers, and names the offset of that claim in a header of every record it writes there. A record counts only
if there is no later claim before it in the log. Suppose a worker is paused and another one takes over: the
successor writes its own claim, and what the paused worker still sends lands after that claim but names the
old one. So recovery, views and sinks all ignore it, and the successor has read everything up to its own
claim. The order in the broker's log decides, so no clock, no session and no request in flight can break it.
It is the fencing token of Kleppmann ("How to do distributed locking", 2016) with the log as the lock service.

A record can contain anything, since every principal with the right to write may have written it. Three things
are therefore not claims: a header that is no number, a record under the claims' key that does not have the
shape of a claim, and the copy of a claim, whose offset is not the one it contains. A record that names a
claim at or beyond its own offset was not written by an owner and counts nowhere. All of this can be seen from
the record alone, so every reader reaches the same result, wherever it begins and whatever compaction has
removed.
"""

import logging
from collections import Counter as CounterOf
from collections.abc import Iterable, Mapping
from typing import Final, Literal, Protocol

import msgspec
from msgspec import Struct
from prometheus_client import Counter

from streams.json import encode
from streams.topic import Message
from streams.writing.outputs import Output

CLAIM_KEY: Final = b"@claim"
CLAIM_HEADER: Final = "claim"

NO_CLAIM: Final = -1

# Digits of the largest possible offset, 2^63 - 1. Python refuses to read numbers of thousands of digits.
_MAX_DIGITS: Final = 19

# How many refusals of one partition a reader logs; all of them are counted.
_MAX_LOGGED_REFUSALS: Final = 10

PASSED_OVER: Final = Counter(
    "clusterflow_claims_passed_over_total",
    "Records of changelogs that count as no claim (malformed), or count nowhere (ahead, replaced, unclaimed)",
    ["topic", "reason"],
)

WAY_OUT: Final = (
    "no reader believes this record, so nothing has stopped; find out who has Write on this topic"
    " (docs/kafka-acls.md), then follow docs/recovery.md, 'A stranger has written to a changelog'"
)

log = logging.getLogger("clusterflow.claims")

Reason = Literal["malformed", "ahead", "replaced", "unclaimed"]
"""What is wrong with a record: it is or names an impossible claim; it names a claim at or beyond its own
offset; it was written under an older claim than the current one; or under none although there is one.
"""


class ClaimMessage(Struct, kw_only=True, omit_defaults=True):
    """A worker takes a partition of a changelog over (`streams.claims`).

    Attributes:
        worker: Its name, for people.
        offset: Where this record lies. A copy lies elsewhere, and is no claim. Claims of earlier versions do
            not say it.
    """

    worker: str = ""
    offset: int | None = None


CLAIM: Final = Message(
    name="partition-claim",
    title="Claim of a partition",
    types=(ClaimMessage,),
    key=CLAIM_KEY.decode(),
)
"""How a claim is described, on every changelog."""


class LogRecord(Protocol):
    """The parts of a record that claims depend on."""

    topic: str
    key: bytes
    value: bytes | None
    partition: int
    offset: int
    headers: Iterable[tuple[str, bytes | None]]


class Claims:
    """The claims in one changelog topic, for a reader that sees each partition in offset order.

    Args:
        standing: Per partition, the claim that was current where this reader begins.
    """

    def __init__(self, standing: Mapping[int, int] | None = None) -> None:
        self._standing = dict(standing or {})
        self._refused: CounterOf[int] = CounterOf()  # by partition

    def admits(self, record: LogRecord) -> bool:
        """Whether a record is data that counts: not a claim itself, nor written by a zombie or a stranger."""
        standing = self._standing.get(record.partition, NO_CLAIM)
        if is_claim(record):
            if _claims(record):
                self._standing[record.partition] = max(standing, record.offset)
            else:
                _count(record, "malformed")
            return False
        claim = claim_of(record)
        if claim > standing:  # its claim precedes this reader's beginning, or was compacted away
            if claim >= record.offset:
                self._refuse(record, claim)
                return False
            self._standing[record.partition] = claim
        elif claim < standing:
            _count(record, "unclaimed" if claim == NO_CLAIM else "replaced")
            return False
        return True

    def _refuse(self, record: LogRecord, claim: int) -> None:
        """Log and count a record that names a claim which no owner can have made."""
        _count(record, "ahead")
        self._refused[record.partition] += 1
        if self._refused[record.partition] <= _MAX_LOGGED_REFUSALS:
            where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
            log.error(
                "a record names a claim that lies beyond it, and is refused",
                extra={**where, "claim": claim, "way_out": WAY_OUT},
            )

    def standing(self, partition: int) -> int:
        """The offset of the last claim seen, `NO_CLAIM` before the first."""
        return self._standing.get(partition, NO_CLAIM)

    def forget(self, partition: int) -> None:
        """Start over with a partition."""
        self._standing.pop(partition, None)


_claim_decoder: Final = msgspec.json.Decoder(ClaimMessage)


def is_claim(record: LogRecord) -> bool:
    """Whether a record has the claims' key, so that it is no data."""
    return record.key == CLAIM_KEY


def claim_of(record: LogRecord) -> int:
    """The offset of the claim that a record was written under; `NO_CLAIM` if it names no possible one."""
    for name, value in record.headers or ():
        if name == CLAIM_HEADER:
            if value is not None and len(value) <= _MAX_DIGITS and value.isdigit():
                return int(value)
            _count(record, "malformed")
            return NO_CLAIM
    return NO_CLAIM


def _claims(record: LogRecord) -> bool:
    """Whether a record under the claims' key is a claim and not a copy of one."""
    try:
        claim = _claim_decoder.decode(record.value or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return claim.offset is None or claim.offset == record.offset


def _count(record: LogRecord, reason: Reason) -> None:
    PASSED_OVER.labels(record.topic, reason).inc()


def claim_output(topic: str, partition: int, worker: str, *, offset: int | None = None) -> Output:
    """The record that claims a partition.

    Args:
        worker: Named in it for people.
        offset: The expected offset of the record; at any other offset it is no claim.
    """
    claim = ClaimMessage(worker=worker, offset=offset)
    return Output(topic, CLAIM_KEY, encode(claim), partition=partition)


def under(claim: int) -> Mapping[str, str]:
    """The headers of a record written under a claim."""
    return {CLAIM_HEADER: str(claim)}
