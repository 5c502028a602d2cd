"""Libraries that say the same again and again: one line in ten seconds, with how often it would have come.

A Kafka client that looks for a broker in vain says so some ten times a second and connection; what matters
is lost among it.
"""

import logging
from time import monotonic
from typing import Any, Final

SECONDS: Final = 10.0

# Messages that are remembered; beyond that, all are forgotten.
MOST: Final = 1000


class Repeats(logging.Filter):
    """Holds back what one of some loggers, or one below it, has said within `SECONDS`.

    The next line that is let through has the number of those held back before it as `repeated`.
    """

    def __init__(self, *names: str) -> None:
        super().__init__()
        self._names = names
        self._said: dict[tuple[Any, ...], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record may pass."""
        if record.name.partition(".")[0] not in self._names:
            return True
        try:
            key = (record.name, record.getMessage(), record.exc_info and record.exc_info[0])
        except Exception:  # a fault of whoever logs: the handler tells of it, and nobody fails
            return True
        now = monotonic()
        since, held_back = self._said.get(key, (float("-inf"), 0))
        if now - since < SECONDS:
            self._said[key] = (since, held_back + 1)
            return False
        if len(self._said) >= MOST:
            self._said.clear()
        self._said[key] = (now, 0)
        if held_back:
            record.repeated = held_back
        return True
