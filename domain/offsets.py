"""How far a state reflects its inputs: by log, the offset of the last record that it reflects.

A log is one life of a topic's partition, named by the topic and Kafka's id of it (`cluster-commands#x3Fb…`).
A topic that was deleted and created again has another id, so offsets of the old one do not apply to it.
"""

from collections.abc import Mapping
from typing import NamedTuple, Self

_DIVIDER = "#"  # no topic's name can contain it


class Resumption(NamedTuple):
    """The position from which a partition is read after a restart.

    Attributes:
        life: The life of its log: Kafka's id of the topic, and after a `~` the number of times that the
            partition was found to end before the position. It is committed with the offset.
        anomaly: An unusual finding, to be logged; usually empty.
    """

    offset: int
    life: str
    anomaly: str = ""

    def log_of(self, topic: str) -> str:
        """The name of the log."""
        return f"{topic}{_DIVIDER}{self.life}"


def resume(topic_id: str, *, committed: int | None, life: str, beginning: int, end: int) -> Resumption:
    """The position to resume from: where reading ended, if that is a position in the present log.

    Args:
        topic_id: The id of the present topic.
        committed: The committed offset of the next record to read; None if there is none.
        life: The life that was committed with it; empty if an earlier version committed none.
        beginning, end: The present bounds of the partition.
    """
    known_id, _, losses = life.partition("~")
    if committed is None:
        return Resumption(beginning, topic_id)
    if life and known_id != topic_id:
        return Resumption(beginning, topic_id, "the topic was made anew: it is read from its beginning")
    current = life or topic_id
    if committed > end:
        text = "the partition has lost its end: what comes from now on is read"
        return Resumption(end, f"{topic_id}~{int(losses or 0) + 1}", text)
    if committed < beginning:
        return Resumption(beginning, current, "records have expired before they were decided")
    return Resumption(committed, current)


def life_of(log: str) -> str:
    """The life in the name of a log; empty if it has none."""
    return log.partition(_DIVIDER)[2]


def noted(offsets: Mapping[str, int], log: str, offset: int) -> dict[str, int]:
    """The offsets after a record of a log, without those of earlier lives of its topic."""
    if log in offsets:
        return {**offsets, log: offset}
    topic = _topic(log)
    return {known: at for known, at in offsets.items() if _topic(known) != topic} | {log: offset}


def holds(offsets: Mapping[str, int], log: str, offset: int) -> bool:
    """Whether a record is already reflected, so that it is dropped when it is redelivered."""
    return offsets.get(log, -1) >= offset


class Seen(NamedTuple):
    """The position of a record: its log and offset, and those of its original if it was forwarded.

    A client's record is forwarded to the topic in which all records about its key have one order. If a crash
    forwards it twice, the second one is recognised by the position of its original.
    """

    log: str
    offset: int
    from_log: str = ""
    from_offset: int = -1

    @classmethod
    def of(cls, log: str, offset: int, origin: str | None) -> Self:
        """Args: origin: The text that `origin_of` made; None for a record that was not forwarded."""
        if not origin:
            return cls(log, offset)
        from_log, _, from_offset = origin.rpartition("/")
        return cls(log, offset, from_log, int(from_offset))

    @property
    def passed_on(self) -> bool:
        """Whether the record was forwarded."""
        return bool(self.from_log)

    def held_by(self, offsets: Mapping[str, int]) -> bool:
        """Whether a state already reflects the record, because it was redelivered or forwarded twice."""
        if holds(offsets, self.log, self.offset):
            return True
        return self.passed_on and holds(offsets, self.from_log, self.from_offset)

    def noted(self, offsets: Mapping[str, int]) -> dict[str, int]:
        """The offsets of a state that reflects the record."""
        own = noted(offsets, self.log, self.offset)
        return noted(own, self.from_log, self.from_offset) if self.passed_on else own


def origin_of(log: str, offset: int) -> str:
    """The position of a record that is being forwarded, as text."""
    return f"{log}/{offset}"


def offset_in(offsets: Mapping[str, int], topic: str) -> int:
    """The remembered offset of a topic in any of its lives; 0 if there is none."""
    return max((at for log, at in offsets.items() if _topic(log) == topic), default=0)


def _topic(log: str) -> str:
    return log.partition(_DIVIDER)[0]
