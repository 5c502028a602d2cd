"""Whether writes get results: compares the commands this process has sent with the results since."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

MAX_OVERDUE: Final = 1000
"""How many commands are remembered after their callers stopped waiting; the oldest are forgotten first."""


@dataclass(slots=True)
class Outcomes:
    """Watches over the results of writes.

    Any result of a write of this process proves that workers are running. So one slow partition among others
    is no fault, and neither is a process without writes. A single write gets twice the time, because its
    partition may be moving to another worker. Results for other processes prove nothing, and neither do
    repeated ones, because a worker that crashes again and again publishes the same results each time.

    Args:
        within: Seconds without a result, while more than one write is pending, after which there is a fault.
        clock: Seconds, monotonic.
    """

    within: float
    clock: Callable[[], float]
    _unanswered: int = 0
    _since: float = 0.0
    _overdue: dict[str, None] = field(default_factory=dict)

    def sent(self, number: int) -> None:
        """Note that `number` writes are in Kafka and not decided yet."""
        if number and not self._unanswered:
            self._since = self.clock()
        self._unanswered += number

    def came(self) -> None:
        """Note a result of a write; the time for other pending writes begins again."""
        self._unanswered = 0

    def missed(self, command_id: str) -> None:
        """Note that the caller of this command stopped waiting; its result still counts."""
        if len(self._overdue) >= MAX_OVERDUE:
            del self._overdue[next(iter(self._overdue))]
        self._overdue[command_id] = None

    def came_late(self, command_id: str) -> None:
        """Note a result for which no caller waits."""
        if command_id in self._overdue:
            del self._overdue[command_id]
            self.came()

    @property
    def fault(self) -> str | None:
        """A sentence about the fault; None without a fault."""
        silent = self.clock() - self._since
        if not self._unanswered or silent < (self.within if self._unanswered > 1 else 2 * self.within):
            return None
        return (
            f"no result has come for {silent:.0f} s, though writes were sent ({self._unanswered}): see"
            " whether the workers run, and what they log"
        )
