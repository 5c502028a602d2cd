"""Who uses Kafka: our roles, and the kinds of clients.

A role is a process or a command of ours; a kind of client is somebody else's program. One principal may be
several of them: its grants add up.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

WEB: Final = "web"
WORKER: Final = "worker"
SINK: Final = "sink"
VERIFY: Final = "verify"
REBUILD: Final = "rebuild"
TOPICS: Final = "topics"

CREATOR: Final = "creator"
COMMANDER: Final = "commander"
CONTROLLER: Final = "controller"
EVENTS_READER: Final = "events-reader"
RESULTS_READER: Final = "results-reader"
DEAD_LETTER_READER: Final = "dead-letter-reader"

ROLES: Final[Mapping[str, str]] = {
    WEB: "`clusterflow web`",
    WORKER: "`clusterflow worker`",
    SINK: "`clusterflow sink`",
    VERIFY: "`clusterflow verify`, with and without `--repair`",
    REBUILD: "`clusterflow rebuild`",
    TOPICS: "`clusterflow topics`",
}
"""What each is; `clusterflow migrate` is not among them, for it does not speak to Kafka."""

CLIENTS: Final[Mapping[str, str]] = {
    CREATOR: "a program that publishes creates",
    COMMANDER: "a program that publishes commands, apart from creates of clusters",
    CONTROLLER: "a controller: follows events, publishes reports, parks what it cannot handle",
    EVENTS_READER: "a program that follows events",
    RESULTS_READER: "a program that waits for results of commands and reports",
    DEAD_LETTER_READER: "a person or program that looks after dead letters",
}
"""What each kind of client is. What they say is checked, but whom they say it for is believed."""


class Use(NamedTuple):
    """Who reads and who writes a topic.

    Attributes:
        parks: Who writes to its dead-letter topic; empty if it has none.
        checks: Which roles compare it with what it must be like when they start; others compare all topics,
            or none.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    parks: str = ""
    checks: tuple[str, ...] = ()
