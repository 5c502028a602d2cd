"""Who may do what with Kafka: one table, from which `clusterflow topics --acls` prints the grants.

`USES` has a row for every topic, and says who reads and who writes it. Everything else follows: what a role
may see of the topics that it checks at its start, the groups that it reads in, and what commands that declare
topics need. `streams.kafka.rights` holds the same table against what the brokers grant.

A role is a process or a command of ours; a kind of client is somebody else's program. One principal may be
several of them: its grants add up.
"""

import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from streams.settings import GROUP, SINK_GROUP
from streams.topics import DEAD_LETTER_SUFFIX, Topics

Operation = Literal["Read", "Write", "Create", "Describe", "DescribeConfigs", "AlterConfigs"]

Resource = Literal["topic", "group"]

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
    COMMANDER: "a program that publishes updates, deletes and reconciles",
    CONTROLLER: "a controller: follows events, publishes reports, parks what it cannot handle",
    EVENTS_READER: "a program that follows events",
    RESULTS_READER: "a program that waits for results of commands and reports",
    DEAD_LETTER_READER: "a person or program that looks after dead letters",
}
"""What each kind of client is. What they say is checked, but whom they say it for is believed."""


HOW_TO_GRANT: Final = "`clusterflow topics --acls` prints the commands that grant it (docs/kafka-acls.md)"


class Use(NamedTuple):
    """Who reads and who writes a topic.

    Attributes:
        parks: Who writes to its dead-letter topic; empty if it has none.
    """

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    parks: str = ""


USES: Final[Mapping[str, Use]] = {
    # The worker publishes a client's record again where it lies in another partition than its key says.
    "create_requests": Use(reads=(WORKER,), writes=(WORKER, CREATOR), parks=WORKER),
    "name_requests": Use(reads=(WORKER,), writes=(WEB, WORKER), parks=WORKER),
    "names": Use(reads=(WORKER, VERIFY, REBUILD), writes=(WORKER, REBUILD)),
    "commands": Use(reads=(WORKER,), writes=(WORKER, COMMANDER), parks=WORKER),
    "accepted_commands": Use(reads=(WORKER,), writes=(WEB, WORKER), parks=WORKER),
    "reports": Use(reads=(WORKER,), writes=(WEB, WORKER, CONTROLLER), parks=WORKER),
    "ticks": Use(reads=(WORKER,), writes=(WORKER,), parks=WORKER),
    "state": Use(reads=(WEB, WORKER, SINK, VERIFY, REBUILD), writes=(WORKER, REBUILD), parks=SINK),
    "events": Use(reads=(SINK, VERIFY, CONTROLLER, EVENTS_READER), writes=(WORKER,), parks=SINK),
    "results": Use(reads=(WEB, RESULTS_READER), writes=(WORKER,)),
}
"""By the name that `Topics` has for it, whose every topic needs a row."""

# Characters of a printed line, about.
_WIDTH: Final = 100

_DECLARES: Final = (REBUILD, TOPICS)

_DECLARING: Final[tuple[Operation, ...]] = ("Create", "Describe", "DescribeConfigs", "AlterConfigs")

# Which topics a role compares with what they must be like (`streams.kafka.admin.check_topics`); None for all.
_CHECKS: Final[Mapping[str, tuple[str, ...] | None]] = {
    WEB: (
        "create_requests",
        "name_requests",
        "commands",
        "accepted_commands",
        "reports",
        "state",
        "results",
    ),
    WORKER: None,
    SINK: ("state", "events"),
    VERIFY: None,
}

# Roles that ask for the ids of all topics that somebody remembers offsets of (`Topics.worked_on`).
_IDENTIFIES: Final = (WEB,)


class Grant(NamedTuple):
    """Operations that somebody needs on one topic or group.

    Attributes:
        prefixed: Whether it is for every name that begins so.
    """

    who: str
    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False


def grants(who: str, topics: Topics, *, controllers: Sequence[str] = ()) -> list[Grant]:
    """All that a role or a kind of client needs, in the order in which records travel.

    Args:
        controllers: Names of controllers, which are those of their groups, and of their dead letters.
    """
    found = [
        Grant(who, "topic", name, operations)
        for name, operations in _of_topics(who, topics).items()
        if operations
    ]
    return [*found, *_own_topics(who, topics, controllers), *_groups(who, topics, controllers)]


def _of_topics(who: str, topics: Topics) -> dict[str, tuple[Operation, ...]]:
    uses = _by_topic(topics)
    checked = _checked(who, topics)
    found: dict[str, tuple[Operation, ...]] = {}
    for spec in topics.all():
        use = uses[spec.name]
        needed: list[Operation] = []
        needed += ["Read"] if who in use.reads else []
        needed += ["Write"] if who in use.writes else []
        if who in _DECLARES:
            needed += _DECLARING
        elif spec.name in checked:
            needed += ["Describe", "DescribeConfigs"]
        elif who in _IDENTIFIES and spec.name in topics.worked_on:
            needed += ["Describe"]
        if ("Read" in needed or "Write" in needed) and "Describe" in needed:
            needed.remove("Describe")  # which either of them includes
        found[spec.name] = tuple(needed)
    return found


def _by_topic(topics: Topics) -> dict[str, Use]:
    """By the name of a topic, who uses it; a dead-letter topic has its own use.

    Raises: LookupError: a topic has no row.
    """
    uses = {getattr(topics, name): use for name, use in USES.items()}
    parked = {
        Topics.dead_letters(name): Use(reads=(DEAD_LETTER_READER,), writes=(use.parks,))
        for name, use in uses.items()
        if use.parks
    }
    found = {**uses, **parked}
    if unknown := [spec.name for spec in topics.all() if spec.name not in found]:
        raise LookupError(
            f"{', '.join(unknown)}: say in streams/kafka/acls.py who reads and writes it (USES)"
        )
    return found


def _checked(who: str, topics: Topics) -> set[str]:
    everything = {spec.name for spec in topics.all()}
    if who not in _CHECKS:
        return set()
    if (names := _CHECKS[who]) is None:
        return everything
    checked = {str(getattr(topics, name)) for name in names}
    parked = {Topics.dead_letters(getattr(topics, name)) for name, use in USES.items() if use.parks == who}
    return checked | (parked & everything)


def _own_topics(who: str, topics: Topics, controllers: Sequence[str]) -> Iterator[Grant]:
    if who == CONTROLLER:
        for name in controllers:
            own = f"{topics.events}.{name}{DEAD_LETTER_SUFFIX}"
            yield Grant(who, "topic", own, ("Create", "Write"))


def _groups(who: str, topics: Topics, controllers: Sequence[str]) -> Iterator[Grant]:
    match who:
        case "worker":
            yield Grant(who, "group", topics.prefix + GROUP, ("Read",))
        case "sink":
            yield Grant(who, "group", topics.prefix + SINK_GROUP, ("Read",))
        case "rebuild":  # refuses while workers are alive
            yield Grant(who, "group", topics.prefix + GROUP, ("Describe",))
        case "controller":
            for name in controllers:
                yield Grant(who, "group", topics.prefix + name, ("Read",))
        case "events-reader" | "results-reader" | "dead-letter-reader":
            yield Grant(who, "group", topics.prefix + who, ("Read",), prefixed=True)


def principal_of(who: str) -> str:
    """The principal that grants are printed for where none is named."""
    return f"User:clusterflow-{who}"


def script(
    topics: Topics, *, principals: Mapping[str, str] | None = None, controllers: Sequence[str] = ()
) -> str:
    """Commands for a shell that grant everything by Kafka's own `kafka-acls.sh`.

    Args:
        principals: Who is what, as Kafka calls them (`User:name`); `principal_of` for those left out.
    """
    named = principals or {}
    lines = [
        "# KAFKA is host:port of a broker, ADMIN the file of settings that an administrator connects by.",
        "grant() {",
        '  kafka-acls.sh --bootstrap-server "$KAFKA" --command-config "$ADMIN" --add --allow-principal "$@"',
        "}",
    ]
    for who, about in {**ROLES, **CLIENTS}.items():
        lines += ["", f"# {who}: {about}"]
        principal = named.get(who, principal_of(who))
        for options in _options(grants(who, topics, controllers=controllers)):
            lines += _wrapped([f"grant {shlex.quote(principal)}", *options])
    return "\n".join(lines) + "\n"


def _options(wanted: Iterable[Grant]) -> Iterator[Sequence[str]]:
    """The options of one command for all names with the same operations."""
    alike: defaultdict[tuple[Resource, tuple[Operation, ...], bool], list[str]] = defaultdict(list)
    for grant in wanted:
        alike[grant.resource, grant.operations, grant.prefixed].append(grant.name)
    for (resource, operations, prefixed), names in alike.items():
        options = [f"--operation {operation}" for operation in operations]
        options += ["--resource-pattern-type prefixed"] if prefixed else []
        yield [*options, *(f"--{resource} {shlex.quote(name)}" for name in names)]


def _wrapped(words: Sequence[str]) -> Iterator[str]:
    """A command over as many lines as it needs."""
    line = ""
    for word in words:
        if line and len(line) + len(word) > _WIDTH:
            yield f"{line} \\"
            line = f"   {word}"
        else:
            line = f"{line} {word}" if line else word
    yield line
