"""JSON Schema of a cluster's spec. The spec has no type, so it is made from the domain's tree of members."""

from collections.abc import Mapping
from typing import Any, Final

from domain.cluster.spec import CHANNEL_GROUPS, SPEC, KnownMember

Schema = dict[str, Any]

_JSON_TYPES: Final[Mapping[type, str]] = {str: "string", int: "integer", dict: "object", list: "array"}


def spec_schema() -> Schema:
    """The schema of a spec's known members, made from the tree that checks them; others are free-form."""
    schema = _kind_schema(SPEC)
    schema["properties"]["release"]["properties"]["channelGroup"]["enum"] = [*CHANNEL_GROUPS, "", None]
    schema["type"] = "object"
    return schema


def _kind_schema(kind: KnownMember) -> Schema:
    """A known member: a value of its type, or null, which means absent."""
    schema: Schema = {"type": [_JSON_TYPES[kind.python], "null"]}
    if kind.members:
        schema["properties"] = {name: _kind_schema(member) for name, member in kind.members.items()}
    if kind.items is not None:
        schema["items"] = {**_kind_schema(kind.items), "type": _JSON_TYPES[kind.items.python]}
    return schema
