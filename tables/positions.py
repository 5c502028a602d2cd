"""Positions in a changelog over all its partitions, for readers of the change feed."""

from domain.errors import Rejected

FeedPosition = tuple[int, ...]
"""Per partition, the offset after the last record seen; partitions beyond the end of the tuple count as 0."""


def expired() -> Rejected:
    """The refusal of a position from which not every change is known."""
    text = "Changes since this Last-Event-ID are no longer known; start again without it"
    return Rejected("WATCH_EXPIRED", text)


def at(position: FeedPosition, partition: int) -> int:
    """The offset in one partition."""
    return position[partition] if partition < len(position) else 0


def reaches(position: FeedPosition, other: FeedPosition) -> bool:
    """Whether everything seen at the other position was seen at this one."""
    return all(at(position, n) >= offset for n, offset in enumerate(other))


def later(one: FeedPosition, other: FeedPosition) -> FeedPosition:
    """The position of a reader that has seen everything seen at either position."""
    return tuple(max(at(one, n), at(other, n)) for n in range(max(len(one), len(other))))
