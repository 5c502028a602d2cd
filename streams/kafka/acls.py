"""The rights that each user of Kafka needs, as the grants that `clusterflow topics --acls` prints.

A flow declares for each of its topics the readers and writers (`Use`). All grants follow from that: rights to
describe the topics that a role checks at its start, rights for the groups that it reads in, and rights for
the commands that declare topics. `streams.kafka.rights` compares the same grants with those of the brokers.
"""

import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from streams.kafka.roles import (
    CLIENTS,
    CONTROLLER,
    DEAD_LETTER_READER,
    EVENTS_READER,
    EXECUTOR,
    REBUILD,
    RECORDER,
    RESULTS_READER,
    ROLES,
    SINK,
    TOPICS,
    VERIFY,
    WEB,
    WORKER,
    Use,
)
from streams.settings import (
    EXECUTOR_GROUP,
    GROUP,
    JOB_EXECUTOR_GROUP,
    RECORDER_GROUP,
    SAMPLES_GROUP,
    SINK_GROUP,
    TELEMETRY_GROUP,
)
from streams.topic import DEAD_LETTER_SUFFIX
from streams.topics import Topics

Operation = Literal["Read", "Write", "Create", "Describe", "DescribeConfigs", "AlterConfigs"]

Resource = Literal["topic", "group"]

HOW_TO_GRANT: Final = "`clusterflow topics --acls` prints the commands that grant it (docs/kafka-acls.md)"

# Approximate characters of a printed line.
_LINE_CHARACTERS: Final = 100

_DECLARES: Final = (REBUILD, TOPICS)

_DECLARING: Final[tuple[Operation, ...]] = ("Create", "Describe", "DescribeConfigs", "AlterConfigs")

# Roles that compare every topic with its declaration when they start; for other roles see `Use.checks`.
_CHECKS_ALL: Final = (WORKER, VERIFY)

# Roles that ask for the ids of all topics whose offsets are remembered (`Topics.worked_on`).
_IDENTIFIES: Final = (WEB,)


class Grant(NamedTuple):
    """Operations that a principal needs on one topic or group.

    Attributes:
        prefixed: Whether it applies to every name with this prefix.
    """

    who: str
    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False


def grants(who: str, topics: Topics, *, controllers: Sequence[str] = ()) -> list[Grant]:
    """All grants of a role or a kind of client, in the order in which records travel.

    Args:
        controllers: Names of controllers, which their groups and their dead-letter topics have too.
    """
    found = [
        Grant(who, "topic", name, operations)
        for name, operations in _of_topics(who, topics).items()
        if operations
    ]
    return [*found, *_own_topics(who, topics, controllers), *_groups(who, topics, controllers)]


def checked(who: str, topics: Topics) -> frozenset[str]:
    """The topics that a role compares with their declarations when it starts."""
    uses = _uses(topics)
    return frozenset(name for name, use in uses.items() if who in _CHECKS_ALL or who in use.checks)


def _of_topics(who: str, topics: Topics) -> dict[str, tuple[Operation, ...]]:
    to_check, remembered = checked(who, topics), topics.worked_on
    found: dict[str, tuple[Operation, ...]] = {}
    for name, use in _uses(topics).items():
        needed: list[Operation] = []
        needed += ["Read"] if who in use.reads else []
        needed += ["Write"] if who in use.writes else []
        if who in _DECLARES:
            needed += _DECLARING
        elif name in to_check:
            needed += ["Describe", "DescribeConfigs"]
        elif who in _IDENTIFIES and name in remembered:
            needed += ["Describe"]
        if ("Read" in needed or "Write" in needed) and "Describe" in needed:
            needed.remove("Describe")  # both of them include it
        found[name] = tuple(needed)
    return found


def _uses(topics: Topics) -> dict[str, Use]:
    """The users of each topic by its name; a dead-letter topic has its own."""
    uses = {topic.spec.name: topic.use for topic in topics.declared}
    parked = {
        Topics.dead_letters(name): Use(reads=(DEAD_LETTER_READER,), writes=use.parks, checks=use.parks)
        for name, use in uses.items()
        if use.parks
    }
    return {**uses, **parked}


def _own_topics(who: str, topics: Topics, controllers: Sequence[str]) -> Iterator[Grant]:
    if who == CONTROLLER:
        for name in controllers:
            own = f"{topics.events}.{name}{DEAD_LETTER_SUFFIX}"
            yield Grant(who, "topic", own, ("Create", "Write"))


_READS_IN: Final[Mapping[str, tuple[str, ...]]] = {
    WORKER: (GROUP, SAMPLES_GROUP, TELEMETRY_GROUP),
    SINK: (SINK_GROUP,),
    RECORDER: (RECORDER_GROUP,),
    EXECUTOR: (EXECUTOR_GROUP, JOB_EXECUTOR_GROUP),
}
"""The groups that a role is a member of."""

_LOOKS_AT: Final[Mapping[str, tuple[str, ...]]] = {
    WEB: (JOB_EXECUTOR_GROUP,),  # who shares the queue of jobs
    REBUILD: (GROUP, SAMPLES_GROUP),  # it refuses while workers are alive
}


def _groups(who: str, topics: Topics, controllers: Sequence[str]) -> Iterator[Grant]:
    for group in _READS_IN.get(who, ()):
        yield Grant(who, "group", topics.prefix + group, ("Read",))
    for group in _LOOKS_AT.get(who, ()):
        yield Grant(who, "group", topics.prefix + group, ("Describe",))
    if who == CONTROLLER:
        for name in controllers:
            yield Grant(who, "group", topics.prefix + name, ("Read",))
    if who in (EVENTS_READER, RESULTS_READER, DEAD_LETTER_READER):
        yield Grant(who, "group", topics.prefix + who, ("Read",), prefixed=True)


def principal_of(who: str) -> str:
    """The default principal for which grants are printed."""
    return f"User:clusterflow-{who}"


def script(
    topics: Topics, *, principals: Mapping[str, str] | None = None, controllers: Sequence[str] = ()
) -> str:
    """Shell commands that make all grants with Kafka's own `kafka-acls.sh`.

    Args:
        principals: The principal (`User:name`) of each role and client; `principal_of` for those omitted.
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
    """A command broken into lines."""
    line = ""
    for word in words:
        if line and len(line) + len(word) > _LINE_CHARACTERS:
            yield f"{line} \\"
            line = f"   {word}"
        else:
            line = f"{line} {word}" if line else word
    yield line
