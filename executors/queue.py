"""The records that were read from queues: in order for each key, and settled in any order.

A record is settled once its piece of work is claimed by somebody, since from then on the lease protects it.
So the committed position waits for claims and never for handlers. Records of one key, which for tasks is the
id of the resource, are worked on one after the other; others do not wait for them.
"""

from collections import deque
from collections.abc import Collection, Iterator, Mapping

from aiokafka import ConsumerRecord, TopicPartition


class Positions:
    """By partition, the records that were read and are not settled."""

    def __init__(self) -> None:
        self._open: dict[TopicPartition, dict[int, bool]] = {}  # offsets in order: whether each is settled
        self._next: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}

    def read(self, record: ConsumerRecord) -> None:
        """A record was read."""
        place = TopicPartition(record.topic, record.partition)
        self._open.setdefault(place, {})[record.offset] = False

    def settle(self, record: ConsumerRecord) -> None:
        """A record need not be read again; of a partition that was taken away since, that says nothing."""
        place = TopicPartition(record.topic, record.partition)
        offsets = self._open.get(place, {})
        if record.offset not in offsets:
            return
        offsets[record.offset] = True
        for offset in [*_settled_first(offsets)]:
            del offsets[offset]
            self._next[place] = offset + 1

    def forget(self, places: Collection[TopicPartition]) -> None:
        """These partitions are not ours any more."""
        for place in places:
            self._open.pop(place, None)
            self._next.pop(place, None)
            self._committed.pop(place, None)

    def to_commit(self) -> Mapping[TopicPartition, int]:
        """Where to read on, for partitions in which that has moved since the last commit."""
        return {place: at for place, at in self._next.items() if self._committed.get(place) != at}

    def committed(self, positions: Mapping[TopicPartition, int]) -> None:
        """These were committed."""
        self._committed.update({place: at for place, at in positions.items() if place in self._next})

    def owns(self, record: ConsumerRecord) -> bool:
        """Whether a record that was read is of a partition that has been ours since."""
        return record.offset in self._open.get(TopicPartition(record.topic, record.partition), {})

    @property
    def open(self) -> int:
        """How many records are not settled, or wait for one before them that is not."""
        return sum(map(len, self._open.values()))


def _settled_first(offsets: Mapping[int, bool]) -> Iterator[int]:
    for offset, settled in offsets.items():
        if not settled:
            return
        yield offset


class Lines:
    """Records waiting in line by key; the first of each line is being worked on."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, bytes | None], deque[ConsumerRecord]] = {}

    def join(self, record: ConsumerRecord) -> bool:
        """Put a record in its line; return whether it is its turn."""
        line = self._lines.get((record.topic, record.key))
        if line is None:
            self._lines[record.topic, record.key] = deque([record])
            return True
        line.append(record)
        return False

    def leave(self, record: ConsumerRecord) -> ConsumerRecord | None:
        """The first of a line is done; return the next one, whose turn it is."""
        line = self._lines[record.topic, record.key]
        line.popleft()
        if line:
            return line[0]
        del self._lines[record.topic, record.key]
        return None
