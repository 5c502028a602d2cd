"""What is measured of limits, under the names of the operations contract (section 11.1).

Scopes are named by callers, so only so many are shown by name.
"""

from collections.abc import Iterable
from typing import Final

from prometheus_client import Counter, Gauge

from domain.rates import EVERYBODY, Rate
from web.limiter.levels import Place

MOST: Final = 1000
"""Scopes of a limit that are named by a metric; what goes beyond is counted together."""

OTHERS: Final = "_other"

_LABELS: Final = ("endpoint", "scope_type", "scope_id")

EXCEEDED: Final = Counter(
    "clustergenie_rate_limit_exceeded_total", "Requests turned away by a limit", _LABELS
)
AVAILABLE: Final = Gauge(
    "clustergenie_rate_limit_available_tokens", "Tokens of the buckets that were used lately", _LABELS
)


class Meters:
    """Counts who is turned away, and shows how full the buckets are that are not full."""

    def __init__(self) -> None:
        self._counted: dict[str, set[Place]] = {}
        self._shown: set[Place] = set()

    def exceeded(self, place: Place) -> None:
        """Count a request that was turned away."""
        counted = self._counted.setdefault(place.name, set())
        if len(counted) < MOST:
            counted.add(place)
        kind, id = _parts(place)
        EXCEEDED.labels(place.name, kind, id if place in counted else OTHERS).inc()

    def show(self, place: Place, tokens: float) -> None:
        """Show how full a bucket is."""
        if place in self._shown or len(self._shown) < MOST:
            self._shown.add(place)
            AVAILABLE.labels(place.name, *_parts(place)).set(tokens)

    def show_all(self, known: Iterable[tuple[Place, float, Rate]]) -> None:
        """Show how full all buckets are; those that are full go, but for everybody's."""
        seen = set()
        for place, tokens, rate in known:
            if tokens < rate.capacity or place.scope == EVERYBODY:
                seen.add(place)
                self.show(place, tokens)
        for place in [each for each in self._shown - seen if each.scope != EVERYBODY]:
            self._shown.discard(place)
            AVAILABLE.remove(place.name, *_parts(place))


def _parts(place: Place) -> tuple[str, str]:
    """The type of a scope, and the id in it, which is empty for everybody's."""
    kind, _, id = place.scope.partition(":")
    return kind, id
