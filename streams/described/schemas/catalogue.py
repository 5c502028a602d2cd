"""Every message by name, and its JSON Schema."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from streams.cluster.spec_schema import spec_schema
from streams.described.schemas.derive import Schema, as_sent, described
from streams.flows import FLOWS
from streams.topic import Declaration, Message

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def messages(flows: Sequence[Declaration] = FLOWS) -> tuple[Message, ...]:
    """Every message; one that several flows share is listed once."""
    return tuple(dict.fromkeys(message for flow in flows for message in flow.schemas))


def payloads(ref: str, flows: Sequence[Declaration] = FLOWS) -> tuple[dict[str, Schema], dict[str, Schema]]:
    """The schema of each message by its name, and the components they refer to.

    Args:
        ref: The form of a reference to a component, with `{name}` for its name.

        Raises: ValueError: two different types have the same name, so references would be ambiguous.
    """
    schemas: dict[str, Schema] = {}
    components: dict[str, Schema] = {}
    for message in messages(flows):
        schemas[message.name], parts = _payload(message, ref)
        if ambiguous := [name for name in parts if parts[name] != components.get(name, parts[name])]:
            raise ValueError(f"{message.name}: another type is called {', '.join(ambiguous)}, too")
        components |= parts
    return schemas, components


def documents(flows: Sequence[Declaration] = FLOWS) -> dict[str, Schema]:
    """Every schema as a document of its own, by name: the messages', and the spec's."""
    text = "The known members of a spec; all others are kept as they were sent."
    found = {"cluster-spec": _document("cluster-spec", "Spec", {"description": text, **spec_schema()}, {})}
    for message in messages(flows):
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
    """The schema of a message and the components it refers to; a single type is not made a component."""
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
    """Variants with a discriminating member `type` as one object: the form of contract, section 10.4."""
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
    found = {"type": "object", "properties": properties, "required": common}
    return {**found, "allOf": conditions} if conditions else found
