"""One topic: how it is declared, what passes over it, and who reads and writes it.

A kind lists its topics and messages in its flow, and `streams/flows.py` lists the flows. What has to do with
all topics is read off these values: what `clusterflow topics` declares and roles check (`streams.topics`,
`streams.kafka`), what principals are granted, what AsyncAPI says, and which schemas there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple, Protocol

from streams.kafka.roles import Use

# The largest record of ours: a spec (512 KiB) three times in an update event, or a cluster with all reports.
MAX_RECORD_BYTES: Final = 8 * 1024 * 1024

# The largest record taken from outside, as sent and as unpacked: a spec with its envelope, twice over. Well
# below the bound of ours, so that whatever comes in fits into a dead letter.
MAX_INPUT_BYTES: Final = 2 * 1024 * 1024

DEAD_LETTER_SUFFIX: Final = ".dlq"

# No record of a changelog that is younger than this is compacted away: a web process finds in the topic what
# readers of its change feed may have missed while it was down, and an owner what a zombie has written over.
STATE_HISTORY: Final = timedelta(hours=1)

# How long a changelog keeps the tombstone of a key. A sink that was away for longer has not seen it, and must
# compare its rows with the topic.
TOMBSTONES_KEPT: Final = timedelta(days=7)


class Key(NamedTuple):
    """What the records of a topic are keyed by; a text.

    Attributes:
        about: In words.
        format: Of the text, as JSON Schema calls it.
    """

    about: str
    format: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """How one topic is declared.

    Attributes:
        key: What its records are keyed by.
        partitions: How many it is made with; None for the deployment's count. One that is there may have
            more, and keeps them.
        retention: How long records are kept; None where compaction decides.
        least_retention: Below it, what is lost is more than old; None where nothing depends on old records.
        history: How long compaction leaves every record.
        from_outside: Whether agents decide what comes on it, clients' records or what REST makes of requests.
            Then the broker stamps its records, so that agents share one clock and no client can date its
            command, and they may be less large.
        dead_letters: Whether bad records of this topic are parked in `<name>.dlq`.
    """

    name: str
    key: Key
    partitions: int | None = None
    retention: timedelta | None = None
    least_retention: timedelta | None = None
    history: timedelta | None = None
    from_outside: bool = False
    dead_letters: bool = False

    @property
    def config(self) -> dict[str, str]:
        """Broker settings of this topic."""
        config = {"max.message.bytes": str(MAX_INPUT_BYTES if self.from_outside else MAX_RECORD_BYTES)}
        if self.from_outside:
            config["message.timestamp.type"] = "LogAppendTime"
        if self.history is not None:
            config["min.compaction.lag.ms"] = _millis(self.history)
        if self.retention is None:
            return {**config, "cleanup.policy": "compact", "delete.retention.ms": _millis(TOMBSTONES_KEPT)}
        return {**config, "retention.ms": _millis(self.retention)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One kind of message.

    Attributes:
        name: The `$id` of its schema.
        types: What its value is decoded with; of events, which nobody here decodes, encoded from.
        one_object: Whether several types are described as one object that its member `type` tells apart.
        from_outside: Whether clients send it. Its schema is then what they should send: the decoder also
            takes a null for what may be absent, as clients in Go send it.
        key: The key of all its records, where they share one; empty where the topic says what they are keyed
            by.
    """

    name: str
    title: str
    types: tuple[Any, ...]
    one_object: bool = False
    from_outside: bool = False
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """All there is to say about a topic; its dead-letter topic follows from it.

    Attributes:
        messages: The names of its messages, the chief one first.
        about: What passes over it, in a sentence.
        headers: The type of the chief message's headers; None where there are none.
        senders, receivers: Which of our parts publish to it and read it; `clients` are everybody else.
        use: Which principals may do so.
    """

    spec: TopicSpec
    messages: tuple[str, ...]
    about: str
    headers: type | None = None
    senders: tuple[str, ...]
    receivers: tuple[str, ...]
    use: Use


class Declaration(Protocol):
    """What every flow says; names of topics are without the deployment's prefix."""

    @property
    def topics(self) -> Sequence[Topic]:
        """Its topics, in the order in which a record travels; several flows may share one."""

    @property
    def schemas(self) -> Sequence[Message]:
        """Its messages, and with them the schemas that there are."""


def _millis(time: timedelta) -> str:
    return str(int(time.total_seconds() * 1000))
