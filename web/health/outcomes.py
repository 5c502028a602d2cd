"""Whether writes come back: what this process has sent to the workers, and what it has heard of it since."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

MAX_OVERDUE: Final = 1000
"""Commands that are remembered after nobody waits for them any more; the oldest are forgotten first."""


@dataclass(slots=True)
class Outcomes:
    """Watches over the results of writes.

    Any result of a write that this process has sent proves that workers live, so one slow partition among
    others is no fault, and neither is a process that nobody writes to. A write that is alone gets twice the
    time: its partition may be changing hands. Results of others prove nothing, nor do repeated ones: a worker
    that dies over and over publishes the same ones each time.

    Args:
        within: Seconds without a result, while more than one write was sent, after which something is wrong.
        clock: Seconds, monotonic.
    """

    within: float
    clock: Callable[[], float]
    _unanswered: int = 0
    _since: float = 0.0
    _overdue: dict[str, None] = field(default_factory=dict)

    def sent(self, number: int) -> None:
        """So many writes are in Kafka and not decided yet."""
        if number and not self._unanswered:
            self._since = self.clock()
        self._unanswered += number

    def came(self) -> None:
        """A result of one has come. What else is under way is judged anew by what is sent after it."""
        self._unanswered = 0

    def missed(self, command_id: str) -> None:
        """Nobody waits any longer for this one; its result still counts."""
        if len(self._overdue) >= MAX_OVERDUE:
            del self._overdue[next(iter(self._overdue))]
        self._overdue[command_id] = None

    def came_late(self, command_id: str) -> None:
        """A result has come that nobody waits for."""
        if command_id in self._overdue:
            del self._overdue[command_id]
            self.came()

    @property
    def fault(self) -> str | None:
        """What is wrong, in a sentence; None while nothing is."""
        silent = self.clock() - self._since
        if not self._unanswered or silent < (self.within if self._unanswered > 1 else 2 * self.within):
            return None
        return (
            f"no result has come for {silent:.0f} s, though writes were sent ({self._unanswered}): see"
            " whether the workers run, and what they log"
        )
