"""Every topic of a deployment by its full name: those that flows declare, and their dead-letter topics.

`clusterflow topics` declares these topics. It refuses a broker whose topics have another partition count,
because that count is fixed for the life of the data.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from streams.cluster import flow as cluster
from streams.envelope import EVENTS
from streams.flows import FLOWS
from streams.topic import DEAD_LETTER_SUFFIX, Declaration, Key, Topic, TopicSpec


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of all topics under one prefix; the name of clusters' public events can be configured.

    Attributes:
        flows: The flows whose topics these are.
    """

    prefix: str = ""
    events_name: str = EVENTS
    flows: tuple[Declaration, ...] = field(default=FLOWS, repr=False, hash=False)

    def of(self, name: str) -> str:
        """The full name of a topic that a flow declares."""
        return self.prefix + (self.events_name if name == EVENTS else name)

    @property
    def commands(self) -> str:
        """Clients' commands to clusters that exist."""
        return self.of(cluster.COMMANDS)

    @property
    def accepted_commands(self) -> str:
        """All commands in one order, with creates whose name was admitted; clients may not write it."""
        return self.of(cluster.ACCEPTED_COMMANDS)

    @property
    def reports(self) -> str:
        """Status reports of controllers."""
        return self.of(cluster.REPORTS)

    @property
    def ticks(self) -> str:
        """Clock ticks, one per partition and interval."""
        return self.of(cluster.TICKS)

    @property
    def events(self) -> str:
        """Public events, one per accepted change."""
        return self.of(EVENTS)

    @property
    def state(self) -> str:
        """Changelog of the cluster table."""
        return self.of(cluster.STATE)

    @property
    def results(self) -> str:
        """One result per command."""
        return self.of(cluster.RESULTS)

    @property
    def create_requests(self) -> str:
        """Clients' creates."""
        return self.of(cluster.CREATE_REQUESTS)

    @property
    def name_requests(self) -> str:
        """All creates, and releases of names, in one order; clients may not write it."""
        return self.of(cluster.NAME_REQUESTS)

    @property
    def names(self) -> str:
        """Changelog of the name table."""
        return self.of(cluster.NAMES)

    @property
    def declared(self) -> tuple[Topic, ...]:
        """The flows' topics with their full names; one that several flows share is listed once."""
        topics = dict.fromkeys(topic for flow in self.flows for topic in flow.topics)
        return tuple(
            replace(
                topic,
                spec=replace(topic.spec, name=self.of(topic.spec.name)),
                messages=(*topic.messages, *self._joining(topic.spec.name)),
            )
            for topic in topics
        )

    def _joining(self, topic: str) -> Iterable[str]:
        """The names of messages that other flows publish on a topic."""
        return dict.fromkeys(flow.joins[topic].name for flow in self.flows if topic in flow.joins)

    @property
    def worked_on(self) -> tuple[str, ...]:
        """The topics whose offsets are remembered: all but the dead-letter topics."""
        return tuple(topic.spec.name for topic in self.declared)

    @staticmethod
    def dead_letters(topic: str) -> str:
        """The dead-letter topic of a topic."""
        return topic + DEAD_LETTER_SUFFIX

    def all(self) -> tuple[TopicSpec, ...]:
        """Every topic, dead-letter topics included, in the order in which records travel."""
        declared = [topic.spec for topic in self.declared]
        return (*declared, *_dead_letter_topics(declared))


def _dead_letter_topics(declared: Iterable[TopicSpec]) -> Iterable[TopicSpec]:
    for topic in declared:
        if topic.dead_letters:
            yield TopicSpec(
                name=Topics.dead_letters(topic.name),
                key=Key("The key the record had"),
                partitions=1,  # dead letters are rare, and their order does not matter
                retention=timedelta(days=30),
            )
