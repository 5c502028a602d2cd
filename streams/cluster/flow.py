"""The topics and messages of clusters and of their names.

Clusters have more inputs than a simple kind (`streams.flow`): controllers' reports and the ticks of their
clock beside commands, and creates that pass the name table before they become commands.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple, get_args

from domain.cluster.names import NameRecord
from domain.cluster.state import ClusterState
from streams.claims import CLAIM
from streams.cluster.headers import AcceptedHeaders, EventHeaders, InputHeaders
from streams.cluster.messages import (
    AcceptedMessage,
    CommandMessage,
    CreateMessage,
    LifecycleEvent,
    NameRequestMessage,
    ReconcileEvent,
    ReportMessage,
    ResultMessage,
    TickMessage,
)
from streams.envelope import EVENTS
from streams.headers import ChangelogHeaders, ResultHeaders
from streams.kafka.roles import (
    COMMANDER,
    CONTROLLER,
    CREATOR,
    EVENTS_READER,
    EXECUTOR,
    NODE,
    REBUILD,
    RESULTS_READER,
    SINK,
    VERIFY,
    WEB,
    WORKER,
    Use,
)
from streams.topic import STATE_HISTORY, Key, Message, Topic, TopicSpec

CREATE_REQUESTS: Final = "cluster-create-requests"
NAME_REQUESTS: Final = "cluster-name-requests"
NAMES: Final = "cluster-names"
COMMANDS: Final = "cluster-commands"
ACCEPTED_COMMANDS: Final = "cluster-accepted-commands"
REPORTS: Final = "cluster-status-reports"
TICKS: Final = "reconcile-ticks"
STATE: Final = "cluster-state"
RESULTS: Final = "cluster-command-results"

_WEEK, _DAY, _HOUR = timedelta(days=7), timedelta(days=1), timedelta(hours=1)
_ID: Final = Key("The cluster's id, lower case", format="uuid")
_NAME: Final = Key("`<created_by>/<name>`")


def _input(name: str, key: Key) -> TopicSpec:
    """A topic of requests that agents decide."""
    return TopicSpec(
        name=name,
        key=key,
        retention=_WEEK,
        least_retention=_DAY,
        from_outside=True,
        dead_letters=True,
    )


SCHEMAS: Final = (
    Message(
        name="cluster-command",
        title="Command",
        types=get_args(CommandMessage),
        one_object=True,
        from_outside=True,
    ),
    Message(
        name="cluster-accepted-command",
        title="Command from REST, or create that has its name",
        types=get_args(AcceptedMessage),
        one_object=True,
    ),
    Message(name="cluster-create-request", title="Create", types=(CreateMessage,), from_outside=True),
    Message(
        name="cluster-name-request",
        title="Create, or release of a name",
        types=get_args(NameRequestMessage),
    ),
    Message(name="cluster-status-report", title="Status report", types=(ReportMessage,), from_outside=True),
    Message(name="reconcile-tick", title="Clock tick", types=(TickMessage,)),
    Message(name="cluster-event", title="Event", types=(LifecycleEvent, ReconcileEvent)),
    Message(name="cluster-state", title="State of a cluster", types=(ClusterState,)),
    Message(name="cluster-command-result", title="Result of a command", types=(ResultMessage,)),
    Message(name="cluster-name", title="Holder of a name", types=(NameRecord,)),
    CLAIM,
)

# A worker publishes a client's record again if it is in another partition than its key requires, so it writes
# to clients' topics too. Web checks those it uses, and those whose records are forwarded to them.
TOPICS: Final = (
    Topic(
        spec=_input(CREATE_REQUESTS, _NAME),
        messages=("cluster-create-request",),
        about="Clients' creates, which pass on to the name requests.",
        headers=InputHeaders,
        senders=("clients",),
        receivers=("cluster agent",),
        use=Use(reads=(WORKER,), writes=(WORKER, CREATOR), parks=(WORKER,), checks=(WEB,)),
    ),
    Topic(
        spec=_input(NAME_REQUESTS, _NAME),
        messages=("cluster-name-request",),
        about=(
            "Creates and releases, decided per name: the first create makes its cluster in the same turn, or"
            " passes on to it where it is in another partition; others are rejected. Ours alone."
        ),
        headers=AcceptedHeaders,
        senders=("web", "cluster agent"),
        receivers=("cluster agent",),
        use=Use(reads=(WORKER,), writes=(WEB, WORKER), parks=(WORKER,), checks=(WEB,)),
    ),
    Topic(
        spec=TopicSpec(name=NAMES, key=_NAME, history=STATE_HISTORY),
        messages=("cluster-name", CLAIM.name),
        about="Changelog of the table of names; ours alone.",
        headers=ChangelogHeaders,
        senders=("cluster agent",),
        receivers=("cluster agent",),
        use=Use(reads=(WORKER, VERIFY, REBUILD), writes=(WORKER, REBUILD)),
    ),
    Topic(
        spec=_input(COMMANDS, _ID),
        messages=("cluster-command",),
        about="Clients' commands to clusters, which pass on; creates go to the create requests.",
        headers=InputHeaders,
        senders=("clients",),
        receivers=("cluster agent",),
        use=Use(reads=(WORKER,), writes=(WORKER, COMMANDER), parks=(WORKER,), checks=(WEB,)),
    ),
    Topic(
        spec=_input(ACCEPTED_COMMANDS, _ID),
        messages=("cluster-accepted-command",),
        about="All commands to a cluster in one order, and creates that have their name; ours alone.",
        headers=AcceptedHeaders,
        senders=("web", "cluster agent"),
        receivers=("cluster agent",),
        use=Use(reads=(WORKER,), writes=(WEB, WORKER), parks=(WORKER,), checks=(WEB,)),
    ),
    Topic(
        spec=_input(REPORTS, _ID),
        messages=("cluster-status-report",),
        about="What controllers report; a report replaces its controller's last one.",
        headers=InputHeaders,
        senders=("clients", "web"),
        receivers=("cluster agent",),
        use=Use(reads=(WORKER,), writes=(WEB, WORKER, CONTROLLER), parks=(WORKER,), checks=(WEB,)),
    ),
    Topic(
        spec=TopicSpec(
            name=TICKS,
            key=Key("The number of the partition"),
            retention=_HOUR,
            from_outside=True,
            dead_letters=True,
        ),
        messages=("reconcile-tick",),
        about="The clock of the cluster agent, one record a partition; ours alone.",
        senders=("worker",),
        receivers=("cluster agent",),
        use=Use(reads=(WORKER,), writes=(WORKER,), parks=(WORKER,)),
    ),
    Topic(
        spec=TopicSpec(name=STATE, key=_ID, history=STATE_HISTORY, dead_letters=True),
        messages=("cluster-state", CLAIM.name),
        about="Changelog of the table of clusters; a null value removes a cluster.",
        headers=ChangelogHeaders,
        senders=("cluster agent",),
        receivers=("cluster agent", "web", "executor", "sink"),
        use=Use(
            reads=(WEB, WORKER, EXECUTOR, SINK, VERIFY, REBUILD),
            writes=(WORKER, REBUILD),
            parks=(SINK,),
            checks=(WEB, EXECUTOR, SINK),
        ),
    ),
    Topic(
        spec=TopicSpec(name=EVENTS, key=_ID, retention=_WEEK, least_retention=_DAY, dead_letters=True),
        messages=("cluster-event",),
        about=(
            "One event per accepted change, in order per cluster, at least once. Among them are events of"
            " nodes, whose metrics become samples, and which are believed in nothing else."
        ),
        headers=EventHeaders,
        senders=("cluster agent", "clients"),
        receivers=("clients", "sink", "worker"),
        use=Use(
            reads=(SINK, VERIFY, WORKER, CONTROLLER, EVENTS_READER),
            writes=(WORKER, NODE),
            parks=(SINK,),
            checks=(SINK,),
        ),
    ),
    Topic(
        spec=TopicSpec(name=RESULTS, key=_ID, retention=_DAY, least_retention=_HOUR),
        messages=("cluster-command-result",),
        about=(
            "What became of commands, and of reports that ask for it by `answer`. Each that was refused or"
            " sent again has one. One that was applied has one unless its sender follows the changelog"
            " (`answered_by`), as web does."
        ),
        headers=ResultHeaders,
        senders=("cluster agent",),
        receivers=("clients", "web"),
        use=Use(reads=(WEB, RESULTS_READER), writes=(WORKER,), checks=(WEB,)),
    ),
)


class ClusterFlow(NamedTuple):
    """The declarations of clusters; the rest of their traffic is known to their agents."""

    topics: Sequence[Topic]
    schemas: Sequence[Message]
    joins: Mapping[str, Message]


CLUSTER: Final = ClusterFlow(TOPICS, SCHEMAS, joins={})
