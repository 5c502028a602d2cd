"""AsyncAPI 3.0 of every topic, made from the table of topics and from the types of the messages.

What the application is here is Clusterflow as a whole: it receives what clients publish, and sends what they
may listen to. Brokers are not named: whoever may connect knows where they are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streams.cluster.headers import AcceptedHeaders, EventHeaders, InputHeaders
from streams.described.schemas.catalogue import MESSAGES, payloads
from streams.described.schemas.derive import described
from streams.headers import ChangelogHeaders, DeadLetterHeaders, ResultHeaders
from streams.settings import GROUP, KafkaSettings
from streams.topics import Topics, TopicSpec
from streams.turns.claims import CLAIM_KEY

Document = dict[str, Any]

_BINDING: Final = "0.5.0"
_REF: Final = "#/components/schemas/{name}"
_CLAIM: Final = "partition-claim"
_HEADERS: Final = (
    InputHeaders,
    AcceptedHeaders,
    ChangelogHeaders,
    EventHeaders,
    ResultHeaders,
    DeadLetterHeaders,
)
_KAFKA_KEY: Final = {
    "cluster id": {"type": "string", "format": "uuid", "description": "The cluster's id, lower case"},
    "<created_by>/<name>": {"type": "string", "description": "`<created_by>/<name>`"},
    "partition number": {"type": "string", "description": "The number of the partition"},
    "original key": {"description": "The key the record had"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What passes over one topic.

    Attributes:
        message: The name of its message.
        headers: The type of its headers; None where there are none.
        senders, receivers: Which of our parts publish to it and read it; `clients` are everybody else.
    """

    message: str
    about: str
    headers: type | None = None
    senders: tuple[str, ...]
    receivers: tuple[str, ...]


def traffic(topics: Topics) -> Mapping[str, Traffic]:
    """What passes over each topic, dead letters apart."""
    return {
        topics.create_requests: Traffic(
            message="cluster-create-request",
            about="Clients' creates, which pass on to the name requests.",
            headers=InputHeaders,
            senders=("clients",),
            receivers=("name agent",),
        ),
        topics.name_requests: Traffic(
            message="cluster-name-request",
            about=(
                "Creates and releases, decided per name: the first create passes on to its cluster, others"
                " are rejected; ours alone."
            ),
            headers=AcceptedHeaders,
            senders=("web", "name agent", "cluster agent"),
            receivers=("name agent",),
        ),
        topics.names: Traffic(
            message="cluster-name",
            about="Changelog of the table of names; ours alone.",
            headers=ChangelogHeaders,
            senders=("name agent",),
            receivers=("name agent",),
        ),
        topics.commands: Traffic(
            message="cluster-command",
            about="Clients' commands to clusters, which pass on; creates go to the create requests.",
            headers=InputHeaders,
            senders=("clients",),
            receivers=("cluster agent",),
        ),
        topics.accepted_commands: Traffic(
            message="cluster-accepted-command",
            about="All commands to a cluster in one order, and creates that have their name; ours alone.",
            headers=AcceptedHeaders,
            senders=("web", "name agent", "cluster agent"),
            receivers=("cluster agent",),
        ),
        topics.reports: Traffic(
            message="cluster-status-report",
            about="What controllers report; a report replaces its controller's last one.",
            headers=InputHeaders,
            senders=("clients", "web"),
            receivers=("cluster agent",),
        ),
        topics.ticks: Traffic(
            message="reconcile-tick",
            about="The clock of the cluster agent, one record a partition; ours alone.",
            senders=("worker",),
            receivers=("cluster agent",),
        ),
        topics.state: Traffic(
            message="cluster-state",
            about="Changelog of the table of clusters; a null value removes a cluster.",
            headers=ChangelogHeaders,
            senders=("cluster agent",),
            receivers=("cluster agent", "web", "sink"),
        ),
        topics.events: Traffic(
            message="cluster-event",
            about="One event per accepted change, in order per cluster, at least once.",
            headers=EventHeaders,
            senders=("cluster agent",),
            receivers=("clients", "sink"),
        ),
        topics.results: Traffic(
            message="cluster-command-result",
            about="What became of each command.",
            headers=ResultHeaders,
            senders=("name agent", "cluster agent"),
            receivers=("clients", "web"),
        ),
    }


def document(kafka: KafkaSettings, *, version: str) -> Document:
    """The AsyncAPI document of a deployment: its prefix, its partitions."""
    passing = traffic(kafka.topics)
    specs = kafka.topics.all()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Clusterflow",
            "version": version,
            "description": (
                "Every topic of Clusterflow. Keys go to partitions by murmur2, as in Kafka's Java client. Who"
                " may publish is a matter of write ACLs: `user_email` in a command is believed."
            ),
        },
        "defaultContentType": "application/json",
        "channels": {spec.name: _channel(spec, kafka, passing) for spec in specs},
        "operations": dict(_operations(specs, kafka.topics, passing)),
        "components": {"messages": _messages(specs, passing), "schemas": _schemas()},
    }


def _channel(spec: TopicSpec, kafka: KafkaSettings, passing: Mapping[str, Traffic]) -> Document:
    names = _message_names(spec, passing)
    return {
        "address": spec.name,
        "description": _about(spec, passing),
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": spec.name,
                "partitions": kafka.partitions,
                "replicas": kafka.replication,
                "topicConfiguration": _configuration(spec),
                "bindingVersion": _BINDING,
            }
        },
    }


def _about(spec: TopicSpec, passing: Mapping[str, Traffic]) -> str:
    if spec.name in passing:
        on = passing[spec.name]
        clients = ["Clients publish to it."] * ("clients" in on.senders)
        clients += ["Clients may read it."] * ("clients" in on.receivers)
        return " ".join([on.about, *clients])
    return f"Records of `{_origin(spec.name)}` that nobody could handle, key and value as they were."


def _configuration(spec: TopicSpec) -> Document:
    """What the topic is declared with, numbers as numbers."""
    config: Document = {
        name: int(value) if value.isdigit() else value for name, value in sorted(spec.config.items())
    }
    return {**config, "cleanup.policy": [config.get("cleanup.policy", "delete")]}


def _operations(
    specs: Iterable[TopicSpec], topics: Topics, passing: Mapping[str, Traffic]
) -> Iterable[tuple[str, Document]]:
    for spec in specs:
        if spec.name in passing:
            senders, receivers = passing[spec.name].senders, passing[spec.name].receivers
        else:
            readers = passing[_origin(spec.name)].receivers
            senders = ("sink",) if "sink" in readers else readers
            receivers = ()
        for action, parts in (("send", senders), ("receive", receivers)):
            for part in parts:
                if part != "clients":
                    yield _operation(spec, action, part, topics, passing)


def _operation(
    spec: TopicSpec, action: str, part: str, topics: Topics, passing: Mapping[str, Traffic]
) -> tuple[str, Document]:
    operation: Document = {
        "action": action,
        "channel": {"$ref": f"#/channels/{spec.name}"},
        "summary": f"The {part} {'publishes to' if action == 'send' else 'reads'} `{spec.name}`",
        "messages": [
            {"$ref": f"#/channels/{spec.name}/messages/{name}"} for name in _message_names(spec, passing)
        ],
    }
    if action == "receive" and spec.from_outside:  # a changelog is read without a group
        group = {"type": "string", "enum": [topics.prefix + GROUP]}
        operation["bindings"] = {"kafka": {"groupId": group, "bindingVersion": _BINDING}}
    return f"{part.replace(' ', '-')}.{action}.{spec.name}", operation


def _messages(specs: Iterable[TopicSpec], passing: Mapping[str, Traffic]) -> Document:
    titles = {message.name: message.title for message in MESSAGES}
    messages: Document = {}
    for spec in specs:
        name = _message_names(spec, passing)[0]
        if spec.name in passing:
            headers = passing[spec.name].headers
            message: Document = {"title": titles[name], "payload": {"$ref": _REF.format(name=name)}}
        else:
            headers = DeadLetterHeaders
            message = {"title": "Dead letter", "contentType": "application/octet-stream"}
        if headers is not None:
            message["headers"] = {"$ref": _REF.format(name=headers.__name__)}
        key = {"key": _KAFKA_KEY[spec.key], "bindingVersion": _BINDING}
        messages[name] = {"name": name, **message, "bindings": {"kafka": key}}
    claim_key = {"key": {"const": CLAIM_KEY.decode()}, "bindingVersion": _BINDING}
    messages[_CLAIM] = {
        "name": _CLAIM,
        "title": titles[_CLAIM],
        "payload": {"$ref": _REF.format(name=_CLAIM)},
        "bindings": {"kafka": claim_key},
    }
    return messages


def _schemas() -> Document:
    schemas, components = payloads(_REF)
    headers = described(_HEADERS, ref=_REF)[1]
    return {**schemas, **components, **headers}


def _message_names(spec: TopicSpec, passing: Mapping[str, Traffic]) -> tuple[str, ...]:
    """The messages of a topic, the chief one first; workers claim the partitions of a changelog."""
    if spec.name not in passing:
        return ("dead-letter",)
    chief = passing[spec.name].message
    return (chief,) if spec.retention is not None else (chief, _CLAIM)


def _origin(topic: str) -> str:
    return topic.removesuffix(Topics.dead_letters(""))
