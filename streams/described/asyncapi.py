"""AsyncAPI 3.0 of every topic, made from the declarations of flows and from the types of the messages.

The application in this document is Clusterflow as a whole: it receives records that clients publish, and
sends records that they may read. Brokers are not named, because clients that may connect know their
addresses.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from streams.described.schemas.catalogue import messages, payloads
from streams.described.schemas.derive import described
from streams.headers import DeadLetterHeaders
from streams.settings import GROUP, KafkaSettings
from streams.topic import Key, Message, Topic, TopicSpec
from streams.topics import Topics

Document = dict[str, Any]

_BINDING: Final = "0.5.0"
_REF: Final = "#/components/schemas/{name}"
_DEAD_LETTER: Final = "dead-letter"


def document(kafka: KafkaSettings, *, version: str) -> Document:
    """The AsyncAPI document of a deployment: its prefix, its partitions."""
    declared = {topic.spec.name: topic for topic in kafka.topics.declared}
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
        "channels": {spec.name: _channel(spec, kafka, declared) for spec in specs},
        "operations": dict(_operations(specs, kafka.topics, declared)),
        "components": {"messages": _messages(kafka.topics), "schemas": _schemas(kafka.topics)},
    }


def _channel(spec: TopicSpec, kafka: KafkaSettings, declared: Mapping[str, Topic]) -> Document:
    names = _message_names(spec, declared)
    return {
        "address": spec.name,
        "description": _about(spec, declared),
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": spec.name,
                "partitions": kafka.partitions_of(spec),
                "replicas": kafka.replication,
                "topicConfiguration": _configuration(spec),
                "bindingVersion": _BINDING,
            }
        },
    }


def _about(spec: TopicSpec, declared: Mapping[str, Topic]) -> str:
    if spec.name in declared:
        on = declared[spec.name]
        clients = ["Clients publish to it."] * ("clients" in on.senders)
        clients += ["Clients may read it."] * ("clients" in on.receivers)
        return " ".join([on.about, *clients])
    return f"Records of `{_origin(spec.name)}` that nobody could handle, key and value as they were."


def _configuration(spec: TopicSpec) -> Document:
    """The topic's declared settings, with numbers as numbers."""
    config: Document = {
        name: int(value) if value.isdigit() else value for name, value in sorted(spec.config.items())
    }
    return {**config, "cleanup.policy": [config.get("cleanup.policy", "delete")]}


def _operations(
    specs: Iterable[TopicSpec], topics: Topics, declared: Mapping[str, Topic]
) -> Iterable[tuple[str, Document]]:
    for spec in specs:
        if spec.name in declared:
            senders, receivers = declared[spec.name].senders, declared[spec.name].receivers
        else:
            readers = declared[_origin(spec.name)].receivers
            senders = ("sink",) if "sink" in readers else readers
            receivers = ()
        for action, parts in (("send", senders), ("receive", receivers)):
            for part in parts:
                if part != "clients":
                    yield _operation(spec, action, part, topics, declared)


def _operation(
    spec: TopicSpec, action: str, part: str, topics: Topics, declared: Mapping[str, Topic]
) -> tuple[str, Document]:
    operation: Document = {
        "action": action,
        "channel": {"$ref": f"#/channels/{spec.name}"},
        "summary": f"The {part} {'publishes to' if action == 'send' else 'reads'} `{spec.name}`",
        "messages": [
            {"$ref": f"#/channels/{spec.name}/messages/{name}"} for name in _message_names(spec, declared)
        ],
    }
    if action == "receive" and spec.from_outside:  # a changelog is read without a group
        group = {"type": "string", "enum": [topics.prefix + GROUP]}
        operation["bindings"] = {"kafka": {"groupId": group, "bindingVersion": _BINDING}}
    return f"{part.replace(' ', '-')}.{action}.{spec.name}", operation


def _messages(topics: Topics) -> Document:
    """The main message of each topic, dead letters, and further messages of topics."""
    known = {message.name: message for message in messages(topics.flows)}
    found: Document = {}
    for topic in topics.declared:
        message = known[topic.messages[0]]
        found[message.name] = _message(message, key=_key(topic.spec.key), headers=topic.headers)
    found[_DEAD_LETTER] = _dead_letter()
    for name in (name for topic in topics.declared for name in topic.messages[1:]):
        keyed_by = known[name].keyed_by
        key = {"const": known[name].key} if keyed_by is None else _key(keyed_by)
        found[name] = _message(known[name], key=key, headers=None)
    return found


def _message(message: Message, *, key: Document, headers: type | None) -> Document:
    told: Document = {
        "name": message.name,
        "title": message.title,
        "payload": {"$ref": _REF.format(name=message.name)},
    }
    if headers is not None:
        told["headers"] = {"$ref": _REF.format(name=headers.__name__)}
    return {**told, "bindings": {"kafka": {"key": key, "bindingVersion": _BINDING}}}


def _dead_letter() -> Document:
    key = {"description": "The key the record had"}  # it may have any form
    return {
        "name": _DEAD_LETTER,
        "title": "Dead letter",
        "contentType": "application/octet-stream",
        "headers": {"$ref": _REF.format(name=DeadLetterHeaders.__name__)},
        "bindings": {"kafka": {"key": key, "bindingVersion": _BINDING}},
    }


def _key(key: Key) -> Document:
    form = {"format": key.format} if key.format else {}
    return {"type": "string", **form, "description": key.about}


def _schemas(topics: Topics) -> Document:
    schemas, components = payloads(_REF, topics.flows)
    carried = dict.fromkeys(topic.headers for topic in topics.declared if topic.headers is not None)
    headers = described((*carried, DeadLetterHeaders), ref=_REF)[1]
    return {**schemas, **components, **headers}


def _message_names(spec: TopicSpec, declared: Mapping[str, Topic]) -> Sequence[str]:
    """The messages of a topic, the main one first."""
    return declared[spec.name].messages if spec.name in declared else (_DEAD_LETTER,)


def _origin(topic: str) -> str:
    return topic.removesuffix(Topics.dead_letters(""))
