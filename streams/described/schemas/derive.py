"""JSON Schema (2020-12) of the types that the code decodes and encodes with.

msgspec derives most of it. The rest is read from the same types: that a `datetime` is a date-time, the
descriptions of members in the docstring's `Attributes:`, and the content of a `Raw` member.
"""

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from datetime import datetime
from typing import Any, get_args, get_type_hints

import msgspec

from streams.messages import Holds

Schema = dict[str, Any]

_ATTRIBUTE = re.compile(r"(\w+(?:, \w+)*): (.*)", re.DOTALL)


def described(types: Sequence[Any], *, ref: str) -> tuple[list[Schema], dict[str, Schema]]:
    """The schemas of some types, and the components they refer to by name.

    Args:
        types: Structs, dataclasses, or unions of Structs.
        ref: The form of a reference to a component, with `{name}` for its name.
    """
    classes = {cls.__name__: cls for type_ in types for cls in _classes(type_)}
    schemas, components = msgspec.json.schema_components((*types, *classes.values()), ref_template=ref)
    for name, component in components.items():
        _refine(component, classes[name], ref)
    return list(schemas[: len(types)]), components


def _classes(type_: Any) -> Iterator[type]:
    """Every Struct, dataclass and TypedDict that a type is made of."""
    pending, seen = [type_], set()
    while pending:
        item = pending.pop()
        pending.extend(part.type if isinstance(part, Holds) else part for part in get_args(item))
        if _has_members(item) and item not in seen:
            seen.add(item)
            yield item
            pending.extend(_hints(item).values())


def _has_members(type_: Any) -> bool:
    structured = is_dataclass(type_) or (inspect.isclass(type_) and issubclass(type_, msgspec.Struct))
    return structured or hasattr(type_, "__required_keys__")


def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _refine(component: Schema, cls: type, ref: str) -> None:
    text, members = _documented(cls)
    component["description"] = text
    if one_of := getattr(cls, "one_of", ()):
        component["anyOf"] = [{"required": [member]} for member in one_of]
    for name in getattr(cls, "must_have", ()):
        component["required"].append(name)
        component["properties"][name] = as_sent(component["properties"][name])
    hints = _hints(cls)
    for name, schema in component["properties"].items():
        if name not in hints:  # a tag
            continue
        parts = list(_parts(hints[name]))
        if datetime in parts:
            _date_times(schema)
        schema.pop("discriminator", None)  # only OpenAPI knows it, and the tags are enough
        for part in parts:
            if isinstance(part, Holds):
                schema["$ref"] = ref.format(name=part.type.__name__)
        if name in members:
            schema["description"] = members[name]


def _parts(hint: Any) -> Iterator[Any]:
    yield hint
    for part in get_args(hint):
        yield from _parts(part)


def _date_times(schema: Any) -> None:
    """Give every string in a schema the format of a date-time."""
    if isinstance(schema, dict):
        if schema.get("type") == "string":
            schema["format"] = "date-time"
        for member in schema.values():
            _date_times(member)
    elif isinstance(schema, list):
        for item in schema:
            _date_times(item)


def _documented(cls: type) -> tuple[str, dict[str, str]]:
    """A docstring's opening and its descriptions of attributes, including those of base classes."""
    members: dict[str, str] = {}
    for base in reversed(cls.__mro__[1:]):
        if _has_members(base):
            members |= _documented(base)[1]
    text, _, attributes = inspect.cleandoc(cls.__doc__ or "").partition("\n\nAttributes:\n")
    for entry in re.split(r"\n(?=    \S)", attributes):
        if match := _ATTRIBUTE.fullmatch(inspect.cleandoc(entry)):
            members |= dict.fromkeys(match[1].split(", "), _unwrapped(match[2]))
    return _unwrapped(text), members


def _unwrapped(text: str) -> str:
    """Prose without the line breaks of its source, except those between paragraphs."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def as_sent(schema: Any) -> Any:
    """The schema for clients, without values that the decoder treats as absent: null or an empty choice.

    A member that may be null by the contract has a `type` beside its alternatives that says so.
    """
    if isinstance(schema, list):
        return [as_sent(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    sent = {name: as_sent(member) for name, member in schema.items()}
    if "default" not in schema:
        return sent
    if schema["default"] in (None, ""):
        del sent["default"]
    if "type" not in schema and "anyOf" in schema:
        choices = [_said(choice) for choice in sent.pop("anyOf") if choice not in _ABSENT]
        return {**sent, **choices[0]} if len(choices) == 1 else {**sent, "anyOf": choices}
    return sent


def _said(choice: Schema) -> Schema:
    """A choice among values, without the empty one."""
    return {**choice, "enum": [value for value in choice["enum"] if value]} if "enum" in choice else choice


_ABSENT: Sequence[Schema] = ({"type": "null"}, {"enum": [""]})
