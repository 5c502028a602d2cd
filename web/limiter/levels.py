"""How full buckets are, as this process knows: from the answers it got, and from what it granted itself."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Final, NamedTuple

from domain.rates import Rate, Taken, refilled, take

MOST: Final = 10_000
"""Buckets that are remembered; the one that was asked for longest ago goes first."""


class Place(NamedTuple):
    """The bucket of a limit in a scope."""

    name: str
    scope: str


@dataclass(slots=True)
class _Level:
    tokens: float
    rate: Rate
    at: float


class Levels:
    """Remembers levels, and grants tokens where nobody else can.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._levels: OrderedDict[Place, _Level] = OrderedDict()

    def note(self, place: Place, tokens: float, rate: Rate) -> None:
        """Remember how full a bucket is now."""
        self._levels[place] = _Level(tokens, rate, self._clock())
        self._levels.move_to_end(place)
        if len(self._levels) > MOST:
            self._levels.popitem(last=False)

    def look(self, place: Place, rate: Rate | None = None) -> float | None:
        """The tokens of a bucket now, at the rate it had or at another one; None if it is not known."""
        if (level := self._levels.get(place)) is None:
            return None
        return refilled(level.tokens, self._clock() - level.at, rate or level.rate)

    def take(self, place: Place, rate: Rate) -> Taken:
        """Take a token of this process's own; a bucket that it does not know is full."""
        known = self.look(place, rate)
        taken = take(rate.capacity if known is None else known)
        self.note(place, taken.tokens, rate)
        return taken

    def known(self) -> Iterator[tuple[Place, float, Rate]]:
        """Each bucket with its tokens now; those that are full again are forgotten."""
        now = self._clock()
        for place, level in list(self._levels.items()):
            tokens = refilled(level.tokens, now - level.at, level.rate)
            if tokens >= level.rate.capacity:
                del self._levels[place]
            yield place, tokens, level.rate
