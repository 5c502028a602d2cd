"""Every topic in one table: name, key, partitions, clean-up and retention.

`clusterflow topics` declares what is here and refuses to run against a broker where it differs in what
cannot be changed later: the partition count, which is fixed for the life of the data.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

# The largest record of ours: a spec (512 KiB) three times in an update event, or a cluster with all reports.
MAX_RECORD_BYTES: Final = 8 * 1024 * 1024

# The largest record taken from outside, as sent and as unpacked: a spec with its envelope, twice over. Well
# below the bound of ours, so that whatever comes in fits into a dead letter.
MAX_INPUT_BYTES: Final = 2 * 1024 * 1024

DEAD_LETTER_SUFFIX: Final = ".dlq"

# No record of a changelog that is younger than this is compacted away: a web process finds in the topic what
# readers of its change feed may have missed while it was down, and an owner what a zombie has written over.
STATE_HISTORY: Final = timedelta(hours=1)

# How long a changelog keeps the tombstone of a key. A sink that was away for longer has not seen it, and must
# compare its rows with the topic.
TOMBSTONES_KEPT: Final = timedelta(days=7)

EVENTS: Final = "cluster-events"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """How one topic is declared.

    Attributes:
        key: What its records are keyed by, for people.
        retention: How long records are kept; None where compaction decides.
        least_retention: Below it, what is lost is more than old; None where nothing depends on old records.
        history: How long compaction leaves every record.
        from_outside: Whether agents decide what comes on it, clients' records or what REST makes of requests.
            Then the broker stamps its records, so that agents share one clock and no client can date its
            command, and they may be less large.
        dead_letters: Whether bad records of this topic are parked in `<name>.dlq`.
    """

    name: str
    key: str
    retention: timedelta | None = None
    least_retention: timedelta | None = None
    history: timedelta | None = None
    from_outside: bool = False
    dead_letters: bool = False

    @property
    def config(self) -> dict[str, str]:
        """Broker settings of this topic."""
        config = {"max.message.bytes": str(MAX_INPUT_BYTES if self.from_outside else MAX_RECORD_BYTES)}
        if self.from_outside:
            config["message.timestamp.type"] = "LogAppendTime"
        if self.history is not None:
            config["min.compaction.lag.ms"] = _millis(self.history)
        if self.retention is None:
            return {**config, "cleanup.policy": "compact", "delete.retention.ms": _millis(TOMBSTONES_KEPT)}
        return {**config, "retention.ms": _millis(self.retention)}


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of all topics under one prefix; that of the public events may be chosen."""

    prefix: str = ""
    events_name: str = EVENTS

    @property
    def commands(self) -> str:
        """Clients' commands to clusters that exist."""
        return f"{self.prefix}cluster-commands"

    @property
    def accepted_commands(self) -> str:
        """All commands in one order, and creates whose name was admitted; clients may not write here."""
        return f"{self.prefix}cluster-accepted-commands"

    @property
    def reports(self) -> str:
        """Status reports of controllers."""
        return f"{self.prefix}cluster-status-reports"

    @property
    def ticks(self) -> str:
        """Clock ticks, one a partition and interval."""
        return f"{self.prefix}reconcile-ticks"

    @property
    def events(self) -> str:
        """Public events, one per accepted change."""
        return self.prefix + self.events_name

    @property
    def state(self) -> str:
        """Changelog of the cluster table."""
        return f"{self.prefix}cluster-state"

    @property
    def results(self) -> str:
        """One result per command."""
        return f"{self.prefix}cluster-command-results"

    @property
    def create_requests(self) -> str:
        """Clients' creates."""
        return f"{self.prefix}cluster-create-requests"

    @property
    def name_requests(self) -> str:
        """Creates from everywhere, and releases of names, in one order; clients may not write here."""
        return f"{self.prefix}cluster-name-requests"

    @property
    def names(self) -> str:
        """Changelog of the name table."""
        return f"{self.prefix}cluster-names"

    @property
    def worked_on(self) -> tuple[str, ...]:
        """The topics whose offsets somebody remembers: all but those of dead letters."""
        return tuple(spec.name for spec in self.all() if not spec.name.endswith(DEAD_LETTER_SUFFIX))

    @staticmethod
    def dead_letters(topic: str) -> str:
        """Where bad records of a topic are parked."""
        return topic + DEAD_LETTER_SUFFIX

    def all(self) -> tuple[TopicSpec, ...]:
        """Every topic, dead-letter topics included, in the order a record travels."""
        week, day, hour = timedelta(days=7), timedelta(days=1), timedelta(hours=1)
        declared = (
            _input(self.create_requests, "<created_by>/<name>"),
            _input(self.name_requests, "<created_by>/<name>"),
            TopicSpec(name=self.names, key="<created_by>/<name>", history=STATE_HISTORY),
            _input(self.commands, "cluster id"),
            _input(self.accepted_commands, "cluster id"),
            _input(self.reports, "cluster id"),
            TopicSpec(
                name=self.ticks,
                key="partition number",
                retention=hour,
                from_outside=True,
                dead_letters=True,
            ),
            TopicSpec(name=self.state, key="cluster id", history=STATE_HISTORY, dead_letters=True),
            TopicSpec(
                name=self.events, key="cluster id", retention=week, least_retention=day, dead_letters=True
            ),
            TopicSpec(name=self.results, key="cluster id", retention=day, least_retention=hour),
        )
        return (*declared, *_dead_letter_topics(declared))


def _input(name: str, key: str) -> TopicSpec:
    """A topic of requests that agents decide."""
    return TopicSpec(
        name=name,
        key=key,
        retention=timedelta(days=7),
        least_retention=timedelta(days=1),
        from_outside=True,
        dead_letters=True,
    )


def _millis(time: timedelta) -> str:
    return str(int(time.total_seconds() * 1000))


def _dead_letter_topics(declared: Iterable[TopicSpec]) -> Iterable[TopicSpec]:
    for topic in declared:
        if topic.dead_letters:
            yield TopicSpec(
                name=Topics.dead_letters(topic.name), key="original key", retention=timedelta(days=30)
            )
