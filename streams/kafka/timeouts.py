"""How long our clients wait for Kafka: every time-out, why it is what it is, and what it costs.

A broker may be silent (frozen, cut off) or only slow, and for some seconds nobody can tell which. So nothing
here decides by itself that a broker is dead: `streams.kafka.brokers` asks the others whether Kafka still
counts on it, and leaves it as soon as Kafka does not. What follows bounds how soon that is asked, and what
happens where Kafka itself never gives the broker up, since it is cut off from us alone.
"""

from typing import Final

LOOK_EVERY: Final = 0.5
"""Seconds between looks for requests without an answer. A look costs a microsecond for each connection."""

SILENT_AFTER: Final = 1.0
"""Seconds without an answer after which the other brokers are asked about this one.

Longer than a fetch waits for records at a broker (`fetch_max_wait_ms`, 0.5 s at most), or a quiet partition
would look like a silent broker. A broker that is only slow costs a request for metadata at each look.
"""

ASK_NEXT_AFTER: Final = 0.3
"""Seconds for one broker to say what the cluster looks like before another one is asked, too.

Healthy brokers take a millisecond. Where all are slow, each is asked, and the first answer counts.
"""

METADATA_WITHIN: Final = 5.0
"""Seconds for any broker to tell of the cluster. In vain, it is tried again; nothing is given up by it."""

LEADERLESS_PAUSE: Final = 0.1
"""Seconds between questions about partitions without a leader: aiokafka asks without a pause."""

REQUEST_MS: Final = 10_000
"""For a request to a broker that Kafka counts on; then the connection is made anew, and it is sent again.

Also for a connection to such a broker. A link that is cut for us alone is found out by this one only. A
broker that takes longer for each answer is as good as none; what one says that takes less is all read. An
idempotent producer sends the same batch under the same sequence again, and what the broker has appended
before counts once.
"""

METADATA_AGE_MS: Final = 5_000
"""Between two questions about the cluster when nothing is wrong: one request, answered within a millisecond.

A broker that is cut off from the others but not from us answers each fetch, with nothing new. Only the others
tell that it leads no more.
"""

KNOWN_WITHIN: Final = 60.0
"""Seconds for a producer to learn the partitions of its topics; longer than a broker's restart."""


def rebalance_within(session: float) -> float:
    """Seconds for all members to join a group again; longer than a turn takes."""
    return max(10.0, session)


def group_request_within(session: float) -> float:
    """Seconds for a request of a member of a group: a join is answered only when all have joined."""
    return rebalance_within(session) + session
