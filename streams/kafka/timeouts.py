"""How long our clients wait for Kafka: every time-out, its reason, and its cost.

A broker may be silent (frozen, cut off) or only slow, and for some seconds the two cannot be distinguished.
So no time-out decides by itself that a broker is dead: `streams.kafka.brokers` asks the other brokers whether
Kafka still lists it, and leaves it as soon as Kafka does not. The values here bound how soon it asks, and
what happens if Kafka keeps listing the broker because it is cut off from us alone.
"""

from typing import Final

LOOK_EVERY: Final = 0.5
"""Seconds between checks for unanswered requests. A check costs a microsecond for each connection."""

SILENT_AFTER: Final = 1.0
"""Seconds without an answer after which the other brokers are asked about this one.

It is longer than a fetch waits for records at a broker (`fetch_max_wait_ms`, at most 0.5 s), or a quiet
partition would look like a silent broker. A broker that is only slow costs a metadata request at each check.
"""

ASK_NEXT_AFTER: Final = 0.3
"""Seconds for one broker to answer a metadata request before another one is asked as well.

Healthy brokers take a millisecond. If all are slow, each is asked, and the first answer counts.
"""

METADATA_WITHIN: Final = 5.0
"""Seconds for any broker to answer a metadata request. After that it is tried again; nothing is given up."""

LEADERLESS_PAUSE: Final = 0.1
"""Seconds between metadata requests for partitions without a leader; aiokafka itself makes no pause."""

REQUEST_MS: Final = 10_000
"""Milliseconds for a request to a broker that Kafka lists; then we connect again and repeat the request.

It also bounds the attempt to connect to such a broker. Only this time-out notices a link that is cut for us
alone. A broker that takes longer for every answer is unusable, and the answers of a faster one are all read.
An idempotent producer repeats a batch under the same sequence number, so the broker stores it once.
"""

METADATA_AGE_MS: Final = 5_000
"""Milliseconds between metadata requests while nothing is wrong; one request takes a millisecond.

A broker that is cut off from the others but not from us still answers each fetch, with no new records. Only
the other brokers know that it is no longer a leader.
"""

KNOWN_WITHIN: Final = 60.0
"""Seconds for a producer to learn the partitions of its topics; longer than a broker takes to restart."""


def rebalance_within(session: float) -> float:
    """Seconds for all members to rejoin a group; longer than a turn takes."""
    return max(10.0, session)


def group_request_within(session: float) -> float:
    """Seconds for a group member's request; a join is answered only when all members have joined."""
    return rebalance_within(session) + session
