"""How far a state reflects its inputs: by log, the offset of the last record that it holds.

A log is one life of a topic's partition: its name with Kafka's id of the topic (`cluster-commands#x3Fb…`). A
topic that was deleted and created again has another id, so offsets of the old one do not apply to it.
"""

from collections.abc import Mapping
from typing import NamedTuple, Self

_DIVIDER = "#"  # which no topic's name can have


class Resumption(NamedTuple):
    """Where a partition is read on.

    Attributes:
        life: Of its log: Kafka's id of the topic, and after a `~` how often the partition was found to end
            before what had been read of it. It goes with the offset that is committed.
        anomaly: What is out of the ordinary, for the log; empty mostly.
    """

    offset: int
    life: str
    anomaly: str = ""

    def log_of(self, topic: str) -> str:
        """The name of the log."""
        return f"{topic}{_DIVIDER}{self.life}"


def resume(topic_id: str, *, committed: int | None, life: str, beginning: int, end: int) -> Resumption:
    """Where a partition is read on: where reading ended, as long as that is a place in what is there now.

    Args:
        topic_id: Of the topic that is there now.
        committed: The offset to read next as it was committed; None where none was.
        life: What was committed with it; empty if it came from a version that committed none.
        beginning, end: Of the partition as it is now.
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
    """The life in the name of a log; empty where it has none."""
    return log.partition(_DIVIDER)[2]


def noted(offsets: Mapping[str, int], log: str, offset: int) -> dict[str, int]:
    """The offsets after a record of a log; those of earlier lives of its topic go."""
    if log in offsets:
        return {**offsets, log: offset}
    topic = _topic(log)
    return {known: at for known, at in offsets.items() if _topic(known) != topic} | {log: offset}


def holds(offsets: Mapping[str, int], log: str, offset: int) -> bool:
    """Whether a record is reflected already, so that it is dropped when it comes again."""
    return offsets.get(log, -1) >= offset


class Seen(NamedTuple):
    """Where a record was seen: its log and offset, and those it was passed on from, if it was.

    A client's record is passed on to where everything that decides on its key is in one order. Should that
    happen twice, the second one is known by where it came from.
    """

    log: str
    offset: int
    from_log: str = ""
    from_offset: int = -1

    @classmethod
    def of(cls, log: str, offset: int, origin: str | None) -> Self:
        """Args: origin: As `origin_of` has it; None for a record that was not passed on."""
        if not origin:
            return cls(log, offset)
        from_log, _, from_offset = origin.rpartition("/")
        return cls(log, offset, from_log, int(from_offset))

    @property
    def passed_on(self) -> bool:
        """Whether it was."""
        return bool(self.from_log)

    def held_by(self, offsets: Mapping[str, int]) -> bool:
        """Whether a state reflects the record already: it was delivered, or passed on, once more."""
        if holds(offsets, self.log, self.offset):
            return True
        return self.passed_on and holds(offsets, self.from_log, self.from_offset)

    def noted(self, offsets: Mapping[str, int]) -> dict[str, int]:
        """The offsets of a state that reflects the record."""
        own = noted(offsets, self.log, self.offset)
        return noted(own, self.from_log, self.from_offset) if self.passed_on else own


def origin_of(log: str, offset: int) -> str:
    """Where a record was before it was passed on, as text."""
    return f"{log}/{offset}"


def offset_in(offsets: Mapping[str, int], topic: str) -> int:
    """The offset remembered of a topic, in whichever of its lives; 0 where there is none."""
    return max((at for log, at in offsets.items() if _topic(log) == topic), default=0)


def _topic(log: str) -> str:
    return log.partition(_DIVIDER)[0]
