"""The users of Kafka: our roles, and the kinds of clients.

A role is one of our processes or commands; a kind of client is a program of somebody else. One principal may
be several of them, and then its grants add up.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

WEB: Final = "web"
WORKER: Final = "worker"
SINK: Final = "sink"
RECORDER: Final = "recorder"
EXECUTOR: Final = "executor"
RELAY: Final = "relay"
GRPC: Final = "grpc"
VERIFY: Final = "verify"
REBUILD: Final = "rebuild"
TOPICS: Final = "topics"

CREATOR: Final = "creator"
COMMANDER: Final = "commander"
CONTROLLER: Final = "controller"
NODE: Final = "node"
EVENTS_READER: Final = "events-reader"
RESULTS_READER: Final = "results-reader"
DEAD_LETTER_READER: Final = "dead-letter-reader"

ROLES: Final[Mapping[str, str]] = {
    WEB: "`clusterflow web`",
    GRPC: "`clusterflow grpc`",
    WORKER: "`clusterflow worker`",
    SINK: "`clusterflow sink`",
    RECORDER: "`clusterflow recorder`",
    EXECUTOR: "`clusterflow executor`",
    RELAY: "`clusterflow relay`",
    VERIFY: "`clusterflow verify`, with and without `--repair`",
    REBUILD: "`clusterflow rebuild`",
    TOPICS: "`clusterflow topics`",
}
"""A description of each role. `clusterflow migrate` is missing because it does not use Kafka."""

CLIENTS: Final[Mapping[str, str]] = {
    CREATOR: "a program that publishes creates",
    COMMANDER: "a program that publishes commands, apart from creates of clusters",
    CONTROLLER: "a controller: follows events, publishes reports, parks what it cannot handle",
    NODE: "a node that publishes telemetry among the events; who follows these has to trust it",
    EVENTS_READER: "a program that follows events",
    RESULTS_READER: "a program that waits for results of commands and reports",
    DEAD_LETTER_READER: "a person or program that looks after dead letters",
}
"""A description of each kind of client. Their records are checked, but the user they name is believed."""


class Use(NamedTuple):
    """The readers and writers of a topic.

    Attributes:
        parks: The writers of its dead-letter topic; empty if it has none.
        checks: The roles that compare it with its declaration when they start; other roles compare all
            topics or none.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    parks: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
