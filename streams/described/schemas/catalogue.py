"""Every message by name, and its JSON Schema."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from domain.cluster.names import NameRecord
from domain.cluster.state import ClusterState
from streams.cluster.messages import (
    CommandMessage,
    CreateMessage,
    LifecycleEvent,
    NameRequestMessage,
    ReconcileEvent,
    ReportMessage,
    ResultMessage,
    TickMessage,
)
from streams.described.schemas.derive import Schema, as_sent, described, spec_schema
from streams.turns.claims import ClaimMessage

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One kind of message.

    Attributes:
        name: The `$id` of its schema.
        types: What its value is decoded with; of events, which nobody here decodes, encoded from.
        one_object: Whether several types are described as one object that its member `type` tells apart.
        from_outside: Whether clients send it. Its schema is then what they should send: the decoder also
            takes a null for what may be absent, as clients in Go send it.
    """

    name: str
    title: str
    types: tuple[type, ...]
    one_object: bool = False
    from_outside: bool = False


MESSAGES: Final[tuple[Message, ...]] = (
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
        types=get_args(CommandMessage),
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
    Message(name="partition-claim", title="Claim of a partition", types=(ClaimMessage,)),
)


def payloads(ref: str) -> tuple[dict[str, Schema], dict[str, Schema]]:
    """The schema of each message by its name, and the components they refer to.

    Args:
        ref: How a component is referred to; `{name}` stands for its name.
    """
    schemas: dict[str, Schema] = {}
    components: dict[str, Schema] = {}
    for message in MESSAGES:
        schemas[message.name], parts = _payload(message, ref)
        components |= parts
    return schemas, components


def documents() -> dict[str, Schema]:
    """Every schema as a document of its own, by name: the messages', and the spec's."""
    text = "The known members of a spec; all others are kept as they were sent."
    found = {"cluster-spec": _document("cluster-spec", "Spec", {"description": text, **spec_schema()}, {})}
    for message in MESSAGES:
        schema, parts = _payload(message, "#/$defs/{name}")
        found[message.name] = _document(message.name, message.title, schema, parts)
    return found


def rendered(document: Schema) -> str:
    """The text of a schema's file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _document(name: str, title: str, schema: Schema, parts: Mapping[str, Schema]) -> Schema:
    document = {"$schema": DIALECT, "$id": name, **schema, "title": title}
    return {**document, "$defs": dict(parts)} if parts else document


def _payload(message: Message, ref: str) -> tuple[Schema, dict[str, Schema]]:
    """The schema of a message, and the components it refers to; that of a single type stands there itself."""
    schemas, parts = described(message.types, ref=ref)
    if message.from_outside:
        parts = as_sent(parts)
    names = [type_.__name__ for type_ in message.types]
    if len(names) == 1:
        return parts.pop(names[0]), parts
    if message.one_object:
        return _one_object([parts.pop(name) for name in names]), parts
    return {"anyOf": schemas}, parts


def _one_object(variants: Sequence[Schema]) -> Schema:
    """Variants that their member `type` tells apart as one object: the form of contract, section 10.4."""
    by_tag = {variant["properties"]["type"]["enum"][0]: variant for variant in variants}
    common = [name for name in variants[0]["required"] if all(name in v["required"] for v in variants)]
    properties = {name: schema for variant in variants for name, schema in variant["properties"].items()}
    properties["type"] = {
        "enum": list(by_tag),
        "description": " ".join(f"`{tag}`: {variant['description']}" for tag, variant in by_tag.items()),
    }
    conditions = [
        {"if": {"properties": {"type": {"const": tag}}, "required": ["type"]}, "then": {"required": more}}
        for tag, variant in by_tag.items()
        if (more := [name for name in variant["required"] if name not in common])
    ]
    return {"type": "object", "properties": properties, "required": common, "allOf": conditions}
