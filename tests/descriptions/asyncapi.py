"""How an AsyncAPI document is read, and held against records."""

from jsonschema import FormatChecker
from jsonschema.validators import Draft202012Validator


def validator(described, part, message):
    """Tells whether a `payload` or `headers` is one of a message."""
    schema = {
        **described["components"]["messages"][message].get(part, {}),
        "components": described["components"],
    }
    return Draft202012Validator(schema, format_checker=FormatChecker())


def references(part):
    """Every reference within a document."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for item in part:
            yield from references(item)
