"""One topic: its declaration, its messages, its readers and its writers.

A kind lists its topics and messages in its flow, and `streams/flows.py` lists the flows. Everything about all
topics is derived from these values: the declarations that `clusterflow topics` makes and roles check
(`streams.topics`, `streams.kafka`), the grants of principals, the AsyncAPI document, and the schemas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple, Protocol

from streams.kafka.roles import Use

# The largest of our records: an update event with a spec (512 KiB) three times, or a state with all reports.
MAX_RECORD_BYTES: Final = 8 * 1024 * 1024

# The largest record accepted from outside, as sent and as unpacked: twice a spec with its envelope. It is
# well below the bound of our own records, so that every input fits into a dead letter.
MAX_INPUT_BYTES: Final = 2 * 1024 * 1024

DEAD_LETTER_SUFFIX: Final = ".dlq"

# The minimum age at which compaction may remove a changelog's record. Within this time a web process finds
# the changes that its feed's readers missed while it was down, and an owner finds records that a zombie has
# overwritten.
STATE_HISTORY: Final = timedelta(hours=1)

# How long a changelog keeps the tombstone of a key. A sink that was away for longer may have missed some, and
# must compare its rows with the topic.
TOMBSTONES_KEPT: Final = timedelta(days=7)


class Key(NamedTuple):
    """The key of a topic's records, which is a text.

    Attributes:
        about: A description.
        format: The text's format in JSON Schema's terms.
    """

    about: str
    format: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """The declaration of one topic.

    Attributes:
        key: The key of its records.
        partitions: The count it is created with; None for the deployment's count. An existing topic with more
            keeps them.
        retention: How long records are kept; None for a compacted topic.
        least_retention: The shortest retention that loses only outdated records; None if nothing depends on
            old records.
        history: The minimum age of records that compaction may remove.
        from_outside: Whether it carries requests that agents decide, from clients or from web. Then the
            broker stamps its records, so that agents share one clock and no client can date its command, and
            the bound of their size is lower.
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
        types: The types of its value, from which it is decoded or, for events, encoded.
        one_object: Whether several types are described as one object with a discriminating member `type`.
        from_outside: Whether clients send it. Its schema then describes what they should send, while the
            decoder also accepts null for an absent member, because clients in Go send that.
        key: The key that all its records share; empty if the topic describes their keys.
        keyed_by: What their keys are, where these are neither.
    """

    name: str
    title: str
    types: tuple[Any, ...]
    one_object: bool = False
    from_outside: bool = False
    key: str = ""
    keyed_by: Key | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """The full description of a topic, from which its dead-letter topic follows.

    Attributes:
        messages: The names of its messages, the main one first.
        about: A sentence about its content.
        headers: The type of the main message's headers; None if it has none.
        senders, receivers: Our parts that publish to it and read it; `clients` are all others.
        use: The principals that may do so.
    """

    spec: TopicSpec
    messages: tuple[str, ...]
    about: str
    headers: type | None = None
    senders: tuple[str, ...]
    receivers: tuple[str, ...]
    use: Use


class Declaration(Protocol):
    """The interface of every flow; names of topics are without the deployment's prefix."""

    @property
    def topics(self) -> Sequence[Topic]:
        """Its topics, in the order in which records travel; several flows may share one."""

    @property
    def schemas(self) -> Sequence[Message]:
        """Its messages, each of which has a schema."""

    @property
    def joins(self) -> Mapping[str, Message]:
        """Its messages on topics that other flows declare, by topic."""


def _millis(time: timedelta) -> str:
    return str(int(time.total_seconds() * 1000))
